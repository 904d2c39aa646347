//! Metrics on their port.

use platform::shutdown::Shutdown;
use platform::telemetry::Metrics;
use tokio::net::TcpListener;

#[tokio::test]
async fn what_is_counted_is_scraped_until_the_drain() {
    let metrics = Metrics::record().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(metrics.serve(listener, shutdown.clone()));
    let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
    for name in ["postrider_build_info{version=", "process_resident_memory_bytes ", "process_cpu_seconds_total "] {
        assert!(text.contains(name), "{name} in {text}");
    }
    shutdown.drain();
    serving.await.unwrap().unwrap();
}

//! The page in a real browser, from another origin than the server's: CORS, cookies and close codes as a browser sees them.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use testkit::system::{MACHINE, System, SystemConfig, signal};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

/// All of it; each step has a bound of its own.
const BOUND: Duration = Duration::from_secs(180);

#[tokio::test]
async fn two_people_chat_through_a_reload_an_offline_time_a_restart_a_kill_and_a_revoked_session() {
    let _alone = MACHINE.lock().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let installed = Command::new(root.join("script/browser")).output().await.expect("script/browser runs");
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let modules = String::from_utf8_lossy(&installed.stdout).trim().to_owned();

    // Held until the page is served: meanwhile others look for ports as well.
    let held = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let page_port = held.local_addr().expect("its port").port();
    let mut system = System::start(SystemConfig::default().env("FRONTEND_URL", format!("http://localhost:{page_port}"))).await;
    drop(held);
    let mut node = Command::new("node")
        .arg(root.join("tools/browser/chat.mjs"))
        .arg(modules)
        .arg(root.join("postrider/page"))
        .args([page_port.to_string(), system.port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .expect("node is installed: script/setup --test");
    let mut answers = node.stdin.take().expect("piped");
    let mut lines = BufReader::new(node.stdout.take().expect("piped")).lines();
    let mut told = String::new();
    let done = tokio::time::timeout(BOUND, async {
        while let Some(line) = lines.next_line().await.expect("text") {
            let asked = ["restart", "freeze", "kill"].contains(&line.as_str());
            match line.as_str() {
                "restart" => {
                    let (status, _) = system.stop().await;
                    assert!(status.success(), "{status}");
                }
                "freeze" => signal(system.pid().expect("it runs"), Signal::STOP),
                "kill" => system.kill(),
                _ => {}
            }
            if asked && line != "freeze" {
                system.start_again();
                system.ready().await;
            }
            if asked {
                answers.write_all(b"done\n").await.expect("it waits for an answer");
            }
            told += &line;
            told += "\n";
        }
        node.wait().await.expect("it ends")
    })
    .await;
    let status = done.unwrap_or_else(|_| panic!("not done within {BOUND:?}:\n{told}"));
    assert!(status.success() && told.contains("all is well"), "{told}");
}

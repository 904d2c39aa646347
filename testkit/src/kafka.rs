//! A real broker: Apache Kafka in KRaft mode, one node, one per test binary.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::system::free_port;

/// A running broker. It dies with the test binary.
#[derive(Debug)]
pub struct Broker {
    /// For `bootstrap.servers`.
    pub address: String,
    data: PathBuf,
    libs: PathBuf,
    child: Mutex<Option<Child>>,
}

/// The broker of this test binary, started by whoever asks first. Topics are told apart by a prefix of each test's own.
///
/// # Panics
/// Without Java or the jars of `script/kafka-jars`, which is run.
pub fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(Broker::start)
}

impl Broker {
    /// A broker of its own, for tests that stop it.
    ///
    /// # Panics
    /// When it does not come up within two minutes.
    #[must_use]
    pub fn start() -> Self {
        let libs = libs();
        remove_orphans();
        let data = std::env::temp_dir().join(format!("{FOLDER}{}-{}", std::process::id(), uuid::Uuid::now_v7().simple()));
        std::fs::create_dir_all(&data).expect("the temporary folder can be written");
        let (port, controller) = (free_port(), free_port());
        std::fs::write(data.join("server.properties"), properties(&data, port, controller)).expect("the temporary folder can be written");
        let broker = Self { address: format!("127.0.0.1:{port}"), data, libs, child: Mutex::new(None) };
        let formatted = broker
            .java(&["kafka.tools.StorageTool", "format", "-t", "postrider-tests-aaaaaa", "-c", "server.properties"])
            .output()
            .expect("java runs");
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
        broker.resume();
        broker
    }

    /// Starts it again after [`Broker::kill`], with what it had.
    ///
    /// # Panics
    /// When it does not come up within two minutes.
    pub fn resume(&self) {
        let log = std::fs::File::create(self.data.join("broker.log")).expect("the temporary folder can be written");
        let mut command = self.java(&["kafka.Kafka", "server.properties"]);
        command.stdout(Stdio::from(log)).stderr(Stdio::null());
        *self.child.lock().expect("no panic holds this lock") = Some(spawn(command));
        let begin = Instant::now();
        while TcpStream::connect(&self.address).is_err() {
            assert!(
                begin.elapsed() < Duration::from_secs(120),
                "the broker does not come up; see {}",
                self.data.join("broker.log").display()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills it at once, as `kill -9` does.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&self) {
        let mut child = self.child.lock().expect("no panic holds this lock").take().expect("it runs");
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    }

    /// Everything in a topic, each record as one text: key, headers, value. Nothing while there is no such topic.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn records(&self, topic: &str) -> Vec<String> {
        let (address, topic) = (self.address.clone(), topic.to_owned());
        let read = tokio::task::spawn_blocking(move || records(&address, &topic).expect("the broker answers"));
        read.await.expect("no panic")
    }

    fn java(&self, arguments: &[&str]) -> Command {
        // Killed with the thread that started it, which lives as long as the process.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "java", "-Xms128m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(self.libs.join("*"))
            .args(arguments)
            .current_dir(&self.data);
        command
    }
}

fn records(address: &str, topic: &str) -> Result<Vec<String>, KafkaError> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", "looks-only")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()?;
    let metadata = consumer.fetch_metadata(None, PATIENCE)?;
    let Some(partitions) = metadata.topics().iter().find(|t| t.name() == topic).map(|t| t.partitions().len()) else {
        return Ok(Vec::new());
    };
    let mut assignment = TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let (mut found, mut ended) = (Vec::new(), BTreeSet::new());
    while ended.len() < partitions {
        match consumer.poll(PATIENCE) {
            None => return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)),
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
            Some(Err(error)) => return Err(error),
            Some(Ok(record)) => {
                let headers = record.headers().into_iter().flat_map(Headers::iter);
                let headers = headers.map(|h| format!("{}={}", h.key, String::from_utf8_lossy(h.value.unwrap_or_default())));
                let [key, value] = [record.key(), record.payload()].map(|b| String::from_utf8_lossy(b.unwrap_or_default()).into_owned());
                found.push(format!("{key} {} {value}", headers.collect::<Vec<_>>().join(" ")));
            }
        }
    }
    Ok(found)
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().expect("no panic holds this lock").take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// Folders are named after the process that uses them.
const FOLDER: &str = "postrider-kafka-";

/// The broker of a test binary outlives every test, so nobody drops it: whoever comes later clears its folder away.
fn remove_orphans() {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(FOLDER)).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The parent's death is the death of the *thread* that started a child: so one thread starts them all, and never ends.
fn spawn(command: Command) -> Child {
    type Order = (Command, std::sync::mpsc::Sender<std::io::Result<Child>>);
    static STARTER: OnceLock<Mutex<std::sync::mpsc::Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, inbox) = std::sync::mpsc::channel::<Order>();
        std::thread::spawn(move || {
            while let Ok((mut command, answer)) = inbox.recv() {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, child) = std::sync::mpsc::channel();
    starter.lock().expect("no panic holds this lock").send((command, answer)).expect("the starter never ends");
    child.recv().expect("the starter answers").expect("java can be started")
}

fn libs() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../script/kafka-jars");
    let output = Command::new(script).output().expect("script/kafka-jars runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

fn properties(data: &Path, port: u16, controller: u16) -> String {
    let logs = data.join("logs");
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
",
        logs.display()
    )
}

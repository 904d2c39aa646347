//! CPU time and memory of the processes that a system is made of, from `/proc`.

use std::collections::BTreeMap;
use std::fs;

/// What a process is to the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// `postrider` itself.
    Postrider,
    /// `postgres`, with all its backends.
    Postgres,
    /// `redis-server` or `valkey-server`.
    Redis,
    /// Kafka or Redpanda.
    Broker,
}

impl Part {
    /// As in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postrider => "postrider",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Broker => "broker",
        }
    }
}

/// At one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Seconds on a CPU, user and system, of the live processes and the children they have waited for.
    pub cpu_seconds: f64,
    /// Proportional set size: shared memory is counted once over all processes.
    pub resident_bytes: u64,
}

/// Seconds of CPU between two moments, over all parts.
pub fn cpu_seconds(before: &BTreeMap<Part, Usage>, after: &BTreeMap<Part, Usage>) -> f64 {
    after.iter().map(|(part, end)| end.cpu_seconds - before.get(part).copied().unwrap_or_default().cpu_seconds).sum()
}

struct Process {
    pid: u32,
    parent: u32,
    name: String,
    cpu_ticks: u64,
}

/// Everything below a process (and a broker anywhere on the machine, when `broker` is asked for), by part.
pub fn usage(root: u32, broker: bool) -> BTreeMap<Part, Usage> {
    let all = processes();
    let ticks = rustix::param::clock_ticks_per_second();
    let mut found = BTreeMap::<Part, Usage>::new();
    for process in &all {
        let part = if process.pid == root {
            Part::Postrider
        } else if descends(&all, process, root) {
            match process.name.as_str() {
                "postgres" => Part::Postgres,
                "redis-server" | "valkey-server" => Part::Redis,
                _ => Part::Postrider,
            }
        } else if broker && is_broker(process) {
            Part::Broker
        } else {
            continue;
        };
        let usage = found.entry(part).or_default();
        #[expect(clippy::cast_precision_loss, reason = "ticks since boot are far below 2^52")]
        {
            usage.cpu_seconds += process.cpu_ticks as f64 / ticks as f64;
        }
        usage.resident_bytes += resident(process.pid);
    }
    found
}

fn descends(all: &[Process], process: &Process, root: u32) -> bool {
    let mut parent = process.parent;
    for _ in 0..16 {
        if parent == root {
            return true;
        }
        match all.iter().find(|p| p.pid == parent) {
            Some(next) if next.parent != 0 => parent = next.parent,
            _ => return false,
        }
    }
    false
}

fn is_broker(process: &Process) -> bool {
    process.name == "redpanda"
        || process.name == "java"
            && fs::read(format!("/proc/{}/cmdline", process.pid)).is_ok_and(|line| String::from_utf8_lossy(&line).contains("kafka.Kafka"))
}

fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// `/proc/<pid>/stat`: the name stands in parentheses and may hold anything; what follows is numbered from the state (3).
fn read(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    // 14–17: utime, stime, and the same of children that were waited for
    Some(Process { pid, parent: fields.get(1)?.parse().ok()?, name, cpu_ticks: ticks(11) + ticks(12) + ticks(13) + ticks(14) })
}

fn resident(pid: u32) -> u64 {
    let field = |file: &str, key: &str| {
        fs::read_to_string(format!("/proc/{pid}/{file}"))
            .ok()
            .and_then(|text| text.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()))
    };
    field("smaps_rollup", "Pss:").or_else(|| field("status", "VmRSS:")).unwrap_or(0) * 1024
}

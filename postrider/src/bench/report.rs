//! What a measurement says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::processes::{Part, Usage};

/// Figures of one run. Times in milliseconds, CPU in microseconds per message, memory in MiB.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Messages with a 2xx.
    pub messages: u64,
    /// Everything else that came back or did not.
    pub errors: u64,
    /// What the first of those said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_error: Option<String>,
    /// How long was sent.
    pub seconds: f64,
    /// Messages per second.
    pub rate: f64,
    /// Median from asking (open loop: from when it should have been asked) to the 2xx.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Slowest.
    pub max_ms: f64,
    /// From the last 2xx until everything was in its conversation and pending.
    pub settled_ms: f64,
    /// From process start to ready, when the run started it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ready_ms: Option<f64>,
    /// CPU per message, over all processes.
    pub cpu_us_per_message: f64,
    /// The same by process.
    pub cpu_us_by_process: BTreeMap<String, f64>,
    /// Memory at the end, by process.
    pub resident_mib_by_process: BTreeMap<String, f64>,
}

/// What `bench fill` did and saw.
#[derive(Debug, Clone, Serialize)]
pub struct Filled {
    /// Messages written, and read back.
    pub events: u64,
    /// Of these, in the largest conversation.
    pub largest_conversation: u64,
    /// How long was written.
    pub seconds: f64,
    /// Events per second into the ledger.
    pub rate: f64,
    /// Events per second from the first append until all of them could be read.
    pub projected_rate: f64,
    /// Median of reading the newest 1,000 of the largest conversation.
    pub newest_1000_ms: f64,
    /// From process start to ready with all of it, when the run has started the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_again_ms: Option<f64>,
    /// Memory at the end (after the second start, when there was one), by process.
    pub resident_mib_by_process: BTreeMap<String, f64>,
    /// Whose address and password read the largest conversation ...
    pub read_as: String,
    /// See `read_as`.
    pub password: String,
    /// ... and with whom it is.
    pub with: uuid::Uuid,
}

impl Filled {
    /// As a table for people.
    pub fn table(&self) -> String {
        let mut out = format!(
            "events              {:>12}\nlargest conversation{:>12}\nwritten at          {:>12.0} /s\nreadable at         {:>12.0} /s\nnewest 1,000        {:>12.2} ms\n",
            self.events, self.largest_conversation, self.rate, self.projected_rate, self.newest_1000_ms
        );
        if let Some(ready) = self.ready_again_ms {
            out += &format!("started again       {ready:>12.0} ms\n");
        }
        for (name, resident) in &self.resident_mib_by_process {
            out += &format!("  {name:<16}  {resident:>12.1} MiB\n");
        }
        out += &format!("GET /messages/conversation/{} as {} with the password \"{}\"\n", self.with, self.read_as, self.password);
        out
    }
}

/// Percentiles of a run.
pub fn percentile(sorted_us: &[u32], of_hundred: f64) -> f64 {
    if sorted_us.is_empty() {
        return 0.0;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index within the slice")]
    let index = ((sorted_us.len() as f64 * of_hundred / 100.0).ceil() as usize).clamp(1, sorted_us.len()) - 1;
    f64::from(sorted_us[index]) / 1000.0
}

impl Report {
    /// Puts CPU and memory in.
    pub fn measured(&mut self, before: &BTreeMap<Part, Usage>, after: &BTreeMap<Part, Usage>) {
        for (part, end) in after {
            let begin = before.get(part).copied().unwrap_or_default();
            #[expect(clippy::cast_precision_loss, reason = "a display figure")]
            let (cpu, resident) = (
                (end.cpu_seconds - begin.cpu_seconds).max(0.0) * 1e6 / self.messages.max(1) as f64,
                end.resident_bytes as f64 / f64::from(1 << 20),
            );
            self.cpu_us_by_process.insert(part.name().to_owned(), cpu);
            self.resident_mib_by_process.insert(part.name().to_owned(), resident);
        }
        self.cpu_us_per_message = self.cpu_us_by_process.values().sum();
    }

    /// As a table for people.
    pub fn table(&self) -> String {
        let mut out = format!(
            "messages            {:>12}\nerrors              {:>12}\nrate                {:>12.0} /s\np50                 {:>12.2} ms\np99                 {:>12.2} ms\nmax                 {:>12.2} ms\nsettled after       {:>12.1} ms\nCPU per message     {:>12.1} µs\n",
            self.messages, self.errors, self.rate, self.p50_ms, self.p99_ms, self.max_ms, self.settled_ms, self.cpu_us_per_message
        );
        if let Some(ready) = self.ready_ms {
            out += &format!("ready after         {ready:>12.0} ms\n");
        }
        for (name, cpu) in &self.cpu_us_by_process {
            let resident = self.resident_mib_by_process.get(name).copied().unwrap_or_default();
            out += &format!("  {name:<16}  {cpu:>12.1} µs  {resident:>8.1} MiB\n");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let sorted: Vec<u32> = (1..=100).map(|n| n * 1000).collect();
        assert!((percentile(&sorted, 50.0) - 50.0).abs() < f64::EPSILON);
        assert!((percentile(&sorted, 99.0) - 99.0).abs() < f64::EPSILON);
        assert!((percentile(&sorted[..1], 99.0) - 1.0).abs() < f64::EPSILON);
    }
}

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

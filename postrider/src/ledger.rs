//! `postrider ledger`: what is done to a ledger as a whole.

use anyhow::{Result, bail};
use clap::Subcommand;
use platform::telemetry;
use schemas::Topic;

use crate::output;
use crate::servers::PostgresBeside;
use crate::settings::Flags;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Declare that a ledger may have lost events that others have seen: it was restored by other means than `postrider restore`, or a replica took over
    ///
    /// Positions of before mean nothing afterwards: the topic gets its next generation, published again from the start, and the read models made from
    /// it are dropped; the next `up` fills them before it is ready. Every process that works on the ledger must have been stopped.
    NewIncarnation {
        /// Of one ledger only, e.g. `messages` [default: of every ledger]
        #[arg(long)]
        topic: Option<Topic>,
        /// Say that you mean it
        #[arg(long)]
        yes: bool,
    },
}

/// Does it.
pub async fn ledger(flags: Flags, action: Action) -> Result<()> {
    let Action::NewIncarnation { topic, yes } = action;
    let config = flags.load(Vec::new())?.config;
    telemetry::logs(&config.telemetry)?;
    if !yes {
        bail!(
            "this cannot be taken back: consumers of the topics have to begin anew with the next generation. Say --yes when that is what you want"
        );
    }
    let beside = PostgresBeside::look(&config).await?;
    let declared = async {
        let Some(databases) = beside.found(&config).await? else { bail!("nothing has been made on this server yet: `postrider up` does") };
        for topic in Topic::ALL.iter().filter(|known| topic.is_none_or(|wanted| wanted == **known)) {
            let meta = platform::ledger::new_incarnation(&databases, *topic).await?;
            output::line(&format!("{topic}: incarnation {}, topic {}", meta.incarnation, topic.name(meta.generation)))?;
        }
        Ok(())
    }
    .await;
    beside.close().await;
    declared
}

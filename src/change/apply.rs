//! The one function that writes to a host.

use jiff::Zoned;
use serde_json::{Map, Value};

use crate::transport::{Machines, Output, Transport, TransportError, WriteError};

use super::transfer::Progress;
use super::{Change, On};

/// What applying a change gave.
#[derive(Debug, Default)]
pub struct Applied {
    /// The output of a `Run`.
    pub output: Option<Output>,
    /// When a `Run` began and ended, by this machine's clock.
    pub times: Option<(Zoned, Zoned)>,
    /// The counts of a `Transfer`.
    pub report: Map<String, Value>,
}

/// Why a change was not, or not wholly, applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The host is no longer in the state the change was planned from; nothing was done.
    #[error("{what} is no longer as it was when this change was planned\n  planned from: {expected}\n  found: {found}")]
    Stale { what: String, expected: String, found: String },
    /// The commands ran and the state is still not the one asked for.
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Host(#[from] TransportError),
}

/// Where a change finds its machines.
#[derive(Clone, Copy)]
pub struct Reach<'a> {
    pub host: &'a dyn Transport,
    pub controller: &'a dyn Transport,
    pub machines: &'a dyn Machines,
    /// Told how far a transfer is, often.
    pub progress: &'a (dyn Fn(Progress) + Send + Sync),
}

/// Makes `change` true, if the host is still in its `before` state.
pub async fn apply(change: &Change, reach: Reach<'_>) -> Result<Applied, ApplyError> {
    match change {
        Change::Path { on, change } => {
            let transport = match on {
                On::Host => reach.host,
                On::Controller => reach.controller,
            };
            let written = transport.write(std::slice::from_ref(change)).await;
            let written = match written {
                // Hosts of one task share the controller, and any machine they delegate to: another was first, with
                // the same.
                Err(WriteError::Stale { found, .. }) if *found == *change.after() => Ok(()),
                other => other,
            };
            written.map_err(|error| match error {
                WriteError::Stale { path, found, .. } => ApplyError::Stale {
                    what: format!("`{path}`"),
                    expected: super::diff::describe(change.before()),
                    found: super::diff::describe(&found),
                },
                WriteError::Failed { path, error: TransportError::Refused(why), .. } => {
                    ApplyError::Failed(format!("`{path}`: {why}"))
                }
                WriteError::Failed { error, .. } => ApplyError::Host(error),
            })?;
            Ok(Applied::default())
        }
        Change::State(state) => {
            let found = read_state(reach.host, state).await?;
            if found != state.before() {
                return Err(ApplyError::Stale { what: state.what().into(), expected: state.before().into(), found });
            }
            for command in state.by() {
                let output = reach.host.run(command).await?;
                if !output.success() {
                    let message =
                        format!("{}: status {}: {}", state.what(), output.status, output.error_text().trim_end());
                    return Err(ApplyError::Failed(message));
                }
            }
            let found = read_state(reach.host, state).await?;
            if found != state.after() {
                let message = format!("{} should now be `{}` and is `{found}`", state.what(), state.after());
                return Err(ApplyError::Failed(message));
            }
            Ok(Applied::default())
        }
        Change::Run { command } => {
            let start = Zoned::now();
            let output = reach.host.run(command).await?;
            Ok(Applied { output: Some(output), times: Some((start, Zoned::now())), ..Applied::default() })
        }
        Change::Transfer(transfer) => super::transfer::run(transfer, reach).await,
    }
}

async fn read_state(host: &dyn Transport, state: &super::StateChange) -> Result<String, TransportError> {
    Ok(host.run(state.probe()).await?.text().trim_end().to_string())
}

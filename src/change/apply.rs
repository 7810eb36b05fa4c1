//! The one function that writes to a host.

use jiff::Zoned;
use serde_json::{Map, Value};
use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::transport::name::shown;
use crate::transport::node::hex;
use crate::transport::{Body, Content, Digest, Machines, Output, PathChange, Transport, TransportError, WriteError};

use super::transfer::Progress;
use super::{Change, On};

/// What applying a change gave.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The output of a `Run`.
    pub output: Option<Output>,
    /// That of the last command that has moved a `State`: some tell of what they have made.
    pub said: Option<Output>,
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
            let brought = bring(change, reach).await?;
            let change = brought.as_ref().map_or(change, |(change, _)| change);
            let written = transport.write(std::slice::from_ref(change)).await;
            let written = match written {
                // Several hosts bring their files into the same directories of the one controller.
                Err(WriteError::Stale { found, .. }) if *on == On::Controller && *found == *change.after() => Ok(()),
                other => other,
            };
            written.map_err(|error| match error {
                WriteError::Stale { path, found, .. } => {
                    let (expected, found) = super::diff::describe_apart(change.before(), &found);
                    ApplyError::Stale { what: format!("`{}`", shown(&path)), expected, found }
                }
                WriteError::Failed { path, error: TransportError::Refused(why), .. } => {
                    ApplyError::Failed(format!("`{}`: {why}", shown(&path)))
                }
                WriteError::Failed { error, .. } => ApplyError::Host(error),
            })?;
            Ok(Applied::default())
        }
        Change::State(state) => {
            // Nothing has been done yet.
            let found = read_state(reach.host, state).await.map_err(|error| match error {
                TransportError::Uncertain(why) => TransportError::Unreachable(why),
                other => other,
            })?;
            // Without commands of its own it is moved by what moves another, which may have been made by now.
            if state.by().is_empty() && found == state.after() {
                return Ok(Applied::default());
            }
            if found != state.before() {
                return Err(ApplyError::Stale { what: state.what().into(), expected: state.before().into(), found });
            }
            let mut said = None;
            for (index, command) in state.by().iter().enumerate() {
                let output = reach.host.run(command).await.map_err(|error| begun(error, index))?;
                if !output.success() {
                    let message =
                        format!("{}: status {}: {}", state.what(), output.status, output.error_text().trim_end());
                    return Err(ApplyError::Failed(message));
                }
                said = Some(output);
            }
            let found = read_state(reach.host, state).await.map_err(|error| begun(error, state.by().len()))?;
            if found != state.after() {
                let message = format!("{} should now be `{}` and is `{found}`", state.what(), state.after());
                return Err(ApplyError::Failed(message));
            }
            Ok(Applied { said, ..Applied::default() })
        }
        Change::Records(records) => records.apply(reach.host).await,
        Change::Run { command } => {
            let start = Zoned::now();
            let output = reach.host.run(command).await?;
            if command.detached.is_some() {
                return started(&output);
            }
            Ok(Applied { output: Some(output), times: Some((start, Zoned::now())), ..Applied::default() })
        }
        Change::Transfer(transfer) => super::transfer::run(transfer, reach).await,
    }
}

/// Says of a command that goes on by itself which job it is.
fn started(output: &Output) -> Result<Applied, ApplyError> {
    let file = output.text().trim().to_string();
    match file.rsplit('/').next().filter(|job| output.success() && !job.is_empty()) {
        Some(job) => {
            let report = [
                ("ansible_job_id", Value::from(job)),
                ("started", 1.into()),
                ("finished", 0.into()),
                ("results_file", file.as_str().into()),
            ];
            let report = report.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
            Ok(Applied { report, ..Applied::default() })
        }
        None => {
            Err(ApplyError::Failed(format!("the command cannot be left to itself: {}", output.error_text().trim_end())))
        }
    }
}

/// Brings a content that is on a host to a temp file here, of this process alone, which goes with the returned guard.
async fn bring(
    change: &PathChange,
    reach: Reach<'_>,
) -> Result<Option<(PathChange, tempfile::NamedTempFile)>, ApplyError> {
    let Some(Content { body, digest, .. }) = change.after().content() else { return Ok(None) };
    let (what, mut process) = match body {
        Body::Peer { host, path } => {
            (format!("`{}` of `{host}`", shown(path)), reach.machines.machine(host).await?.read(path).await?)
        }
        Body::Own { path } => (format!("`{}` of the host", shown(path)), reach.host.read(path).await?),
        Body::Printed { by, here } => {
            let machine = if *here { reach.controller } else { reach.host };
            let mut process = machine.open(by).await?;
            // It may end without having read all.
            if process.stdin.write_all(&by.stdin).await.is_ok() {
                let _ = process.stdin.shutdown().await;
            }
            (format!("the content of `{}`", shown(change.path())), process)
        }
        Body::Unknown { needs } => return Err(ApplyError::Failed(format!("its content needs {needs}"))),
        Body::There | Body::Here(_) | Body::File(_) => return Ok(None),
    };
    let failed = |error: std::io::Error| ApplyError::Failed(format!("{what}: {error}"));
    let file = tempfile::NamedTempFile::new().map_err(failed)?;
    let mut writer = tokio::fs::File::create(file.path()).await.map_err(failed)?;
    let mut sum = sha2::Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = process.stdout.read(&mut buffer).await.map_err(failed)?;
        if count == 0 {
            break;
        }
        sum.update(&buffer[..count]);
        writer.write_all(&buffer[..count]).await.map_err(failed)?;
    }
    writer.flush().await.map_err(failed)?;
    let (status, stderr) = process.end.await?;
    if status != 0 {
        let said = String::from_utf8_lossy(&stderr).trim_end().to_string();
        return Err(ApplyError::Failed(format!("{what} cannot be read: {said}")));
    }
    let found = Digest(hex(&sum.finalize()));
    match digest {
        Some(expected) if *expected != found => Err(ApplyError::Stale {
            what: what.clone(),
            expected: format!("sha256 {}", expected.0),
            found: format!("sha256 {}", found.0),
        }),
        _ => Ok(Some((change.clone().with_body(Body::File(file.path().to_path_buf())), file))),
    }
}

/// Takes a loss of the connection between two commands of a change for what it is: some of them have run.
fn begun(error: TransportError, run: usize) -> TransportError {
    match error {
        TransportError::Unreachable(why) if run > 0 => TransportError::Uncertain(why),
        other => other,
    }
}

async fn read_state(host: &dyn Transport, state: &super::StateChange) -> Result<String, TransportError> {
    Ok(host.run(state.probe()).await?.text().trim_end().to_string())
}

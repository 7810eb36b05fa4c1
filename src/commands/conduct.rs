//! A run on its way: its events to the reader, signals to its end, and the exit code.

use std::io::Write as _;
use std::sync::Arc;

use indicatif::ProgressBar;
use tokio::sync::mpsc::UnboundedReceiver;

use super::printing::Printing;
use super::signals::Signals;
use crate::cli::Stop;
use crate::error::Diagnostics;
use crate::report::Recap;
use crate::run::{Event, Run};

/// Who reads of a run, and how much.
pub struct Reading {
    pub events: UnboundedReceiver<Event>,
    /// What runs, for its reports.
    pub name: String,
    pub printing: Printing,
    pub progress: Option<ProgressBar>,
    /// How a run that was ended by a signal is gone on with.
    pub go_on: String,
}

/// How a run came to its end.
enum Ended {
    Worked(Result<(), Diagnostics>),
    /// By a signal, with the exit code for it.
    Told(u8),
    /// The output is gone.
    Unread(Result<std::io::Result<Recap>, tokio::task::JoinError>),
}

/// Does the work of a run, and returns what it came to. An exit code instead: it was ended by a signal.
pub async fn conduct(
    run: Arc<Run>,
    reading: Reading,
    work: impl AsyncFnOnce(&Arc<Run>) -> Result<(), Diagnostics>,
) -> Result<Result<Recap, u8>, Stop> {
    let Reading { mut events, name, printing, progress, go_on } = reading;
    let junit = printing.open()?;
    let mode = run.options.mode;
    let reporter = tokio::task::spawn_blocking(move || {
        let mut reporter = printing.reporter((mode, &name), junit, progress)?;
        while let Some(event) = events.blocking_recv() {
            reporter.event(&event)?;
        }
        reporter.finish()
    });
    let (connections, journal) = (run.connections.clone(), run.journal.clone());
    let mut signals = Signals::listen().map_err(Stop::Output)?;
    let mut reporter = std::pin::pin!(reporter);
    // When this is known, the work is given up: nothing more is begun, and what is under way is noted as such.
    let ended = tokio::select! {
        worked = work(&run) => Ended::Worked(worked),
        code = signals.next() => Ended::Told(code),
        // Nobody reads what would be shown, so nothing more is done.
        gone = &mut reporter => Ended::Unread(gone),
    };
    let code = match &ended {
        Ended::Told(code) => Some(*code),
        _ => None,
    };
    let wind_up = async {
        match code {
            Some(_) => run.interrupt().await,
            None => drop(connections.stop().await),
        }
        // The reporter ends with the last sender of events.
        drop(run);
        connections.close();
        let ended = match ended {
            Ended::Unread(gone) => read(gone).map(Ok),
            Ended::Worked(worked) => {
                let recap = read(reporter.await)?;
                worked.map(|()| Ok(recap)).map_err(Stop::Wrong)
            }
            Ended::Told(code) => {
                read(reporter.await)?;
                let text = "interrupted: the changes made so far are in the journal";
                writeln!(anstream::stderr(), "{text}; {go_on}").map_err(Stop::Output)?;
                Ok(Err(code))
            }
        };
        let code = match &ended {
            Ok(Ok(recap)) => recap.exit_code(),
            Ok(Err(code)) => *code,
            Err(_) => 1,
        };
        // All that an undo needs has been written before.
        let _ = journal.ended(code);
        ended
    };
    tokio::select! {
        ended = wind_up => ended,
        // Told again: at once.
        again = signals.next() => Ok(Err(code.unwrap_or(again))),
    }
}

/// Returns the recap that the reporter ended with.
fn read(ended: Result<std::io::Result<Recap>, tokio::task::JoinError>) -> Result<Recap, Stop> {
    ended.map_err(std::io::Error::other).and_then(|recap| recap).map_err(Stop::Output)
}

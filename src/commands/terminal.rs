//! The terminal of the one who started the program, where secrets are asked for.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::transport::ssh::{Ask, Keyring};

/// Returns the keyring of a run: it asks on the terminal, if there is one, whatever stdin is. The progress line is not
/// drawn meanwhile: it would wipe the question out.
pub fn keyring(progress: Option<ProgressBar>) -> Keyring {
    match open() {
        Some(_) => Keyring::new(ask(progress)),
        None => Keyring::default(),
    }
}

fn ask(progress: Option<ProgressBar>) -> Ask {
    Arc::new(move |prompt: String| {
        let cleared = Cleared::of(progress.clone());
        Box::pin(async move {
            let _cleared = cleared;
            answer(prompt).await
        })
    })
}

/// A progress line that is not drawn until this is dropped.
struct Cleared(Option<ProgressBar>);

impl Cleared {
    fn of(progress: Option<ProgressBar>) -> Cleared {
        if let Some(bar) = &progress {
            bar.finish_and_clear();
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Cleared(progress)
    }
}

impl Drop for Cleared {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

/// Asks without showing what is typed. `None`: no answer.
async fn answer(prompt: String) -> Option<Secret> {
    let mut terminal = open()?;
    let reader = terminal.try_clone().ok()?;
    let _hidden = Hidden::on(terminal.try_clone().ok()?)?;
    terminal.write_all(prompt.as_bytes()).ok()?;
    let (sender, answer) = tokio::sync::oneshot::channel();
    // A thread that nothing waits for: a run that is interrupted does not hang on a question.
    std::thread::spawn(move || {
        let mut line = Zeroizing::new(String::new());
        let read = BufReader::new(reader).read_line(&mut line);
        let text = line.trim_end_matches(['\n', '\r']);
        let _ = sender.send(read.is_ok_and(|length| length > 0).then(|| Secret::new(text)));
    });
    answer.await.ok().flatten()
}

fn open() -> Option<File> {
    File::options().read(true).write(true).open("/dev/tty").ok()
}

/// A terminal that does not show what is typed, until this is dropped: also when the question is given up.
struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    fn on(terminal: File) -> Option<Hidden> {
        let before = tcgetattr(&terminal).ok()?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ECHO);
        modes.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(&terminal, OptionalActions::Flush, &modes).ok()?;
        Some(Hidden { terminal, before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

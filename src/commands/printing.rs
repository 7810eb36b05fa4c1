//! What is printed of a run, for whom, and how.

use std::fs::File;
use std::io::{BufWriter, Result};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use crate::error::Diagnostic;
use crate::report::{Human, JsonLines, Junit, Minimal, Quiet, Recap, Reporter};
use crate::run::{Event, Mode};

/// The flags that every run has.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Printing {
    /// Do not show differences
    #[arg(long)]
    pub no_diff: bool,
    /// Say more; twice also says where tasks stand
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// One line, and failures in full: for jobs of cron
    #[arg(short, long, conflicts_with = "output")]
    quiet: bool,
    /// How
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    output: Output,
    /// Write a report in JUnit XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    #[default]
    Human,
    /// For programs: one event a line, in JSON
    Json,
    /// A block for each host and nothing around it, as `ansible` prints
    Minimal,
    /// A line for each host
    Oneline,
}

impl Printing {
    /// Prints for people.
    pub fn human(verbose: u8) -> Printing {
        Printing { verbose, ..Printing::default() }
    }

    /// Prints what `ansible` prints.
    pub fn minimal(one_line: bool, verbose: u8) -> Printing {
        Printing { output: if one_line { Output::Oneline } else { Output::Minimal }, verbose, ..Printing::default() }
    }

    /// Leaves out the differences, which have been shown already.
    pub fn without_diffs(&self) -> Printing {
        Printing { no_diff: true, ..self.clone() }
    }

    /// Tells people no more than one line, unless more is asked for.
    pub fn in_short(&self) -> Printing {
        Printing { quiet: self.verbose == 0 && self.output == Output::Human, ..self.clone() }
    }

    /// Says whether it is to be told otherwise than in full to people.
    pub fn is_special(&self) -> bool {
        self.quiet || self.output != Output::Human || self.junit.is_some()
    }

    /// Says whether a line that draws itself anew may show how far the run is.
    pub fn draws(&self) -> bool {
        !self.quiet && self.output == Output::Human
    }

    /// Finds out before the run whether its report can be written.
    pub fn open(&self) -> std::result::Result<Option<File>, Diagnostic> {
        let open = |path: &PathBuf| {
            let opened = File::create(path);
            opened
                .map_err(|error| Diagnostic::new(format!("no report can be written to `{}`: {error}", path.display())))
        };
        self.junit.as_ref().map(open).transpose()
    }

    /// Returns who reads a run of this name.
    pub fn reporter(
        &self,
        (mode, name): (Mode, &str),
        junit: Option<File>,
        progress: Option<ProgressBar>,
    ) -> Result<Box<dyn Reporter>> {
        let out = anstream::stdout();
        let first: Box<dyn Reporter> = match self.output {
            Output::Json => Box::new(JsonLines::new(out, mode, name)?),
            Output::Minimal => Box::new(Minimal::new(out, false)),
            Output::Oneline => Box::new(Minimal::new(out, true)),
            Output::Human if self.quiet => Box::new(Quiet::new(out, mode, name.into())),
            Output::Human => Box::new(Human::new(out, mode, (self.verbose, !self.no_diff), progress)),
        };
        Ok(match junit {
            Some(file) => Box::new(Both(first, Box::new(Junit::new(BufWriter::new(file), name.into())))),
            None => first,
        })
    }
}

/// Two readers of one run.
struct Both(Box<dyn Reporter>, Box<dyn Reporter>);

impl Reporter for Both {
    fn event(&mut self, event: &Event) -> Result<()> {
        self.0.event(event)?;
        self.1.event(event)
    }

    fn finish(self: Box<Self>) -> Result<Recap> {
        self.1.finish()?;
        self.0.finish()
    }
}

/// Names a run as its reports do: by the files that it is of, without their directories.
pub fn name(files: &[PathBuf]) -> String {
    let names = files.iter().map(|path| path.file_name().map(Path::new).unwrap_or(path).display().to_string());
    names.collect::<Vec<_>>().join(" ")
}

//! What is printed of a run, for whom, and how.

use std::fs::File;
use std::io::{BufWriter, Result};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use crate::error::Diagnostic;
use crate::report::{Human, JsonLines, Junit, Minimal, Quiet, Recap, Reporter, Times, Tree, Whole};
use crate::run::{Event, Mode};
use crate::settings;

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
    /// As this stdout callback of Ansible prints it; may be repeated (the default is what ANSIBLE_STDOUT_CALLBACK names)
    #[arg(long, value_name = "CALLBACK", value_delimiter = ',')]
    report: Vec<Callback>,
    /// Write a report in JUnit XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Where each host's last result is written, too
    #[arg(skip)]
    tree: Option<PathBuf>,
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

/// Ansible's stdout callbacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Callback {
    /// For people, as without this flag
    Default,
    /// A block for each host
    Minimal,
    /// A line for each host
    Oneline,
    /// One JSON document at the end
    Json,
    /// For people, results as YAML
    Yaml,
    /// Also a JUnit file in $JUNIT_OUTPUT_DIR
    Junit,
    /// Also each host's last result in a file of its own in $ANSIBLE_CALLBACK_TREE_DIR
    Tree,
    /// Also how long each task took
    #[value(name = "profile_tasks")]
    ProfileTasks,
}

impl Printing {
    /// Returns the callbacks that are asked for: by flags, or by the setting. One that is not known here prints as the default.
    fn callbacks(&self) -> Vec<Callback> {
        if !self.report.is_empty() {
            return self.report.clone();
        }
        let set = settings::value("ANSIBLE_STDOUT_CALLBACK").unwrap_or_default();
        let enabled = settings::value("ANSIBLE_CALLBACKS_ENABLED").unwrap_or_default();
        let named = |name: &str| {
            let short = name.trim().rsplit('.').next().unwrap_or_default();
            <Callback as clap::ValueEnum>::from_str(short, true).ok()
        };
        let beside = [Callback::Junit, Callback::Tree, Callback::ProfileTasks];
        let enabled = enabled.split(',').filter_map(named).filter(|callback| beside.contains(callback));
        named(&set).into_iter().chain(enabled).collect()
    }

    fn has(&self, callback: Callback) -> bool {
        self.callbacks().contains(&callback)
    }

    /// Prints for people.
    pub fn human(verbose: u8) -> Printing {
        Printing { verbose, ..Printing::default() }
    }

    /// Prints what `ansible` prints.
    pub fn minimal(one_line: bool, verbose: u8) -> Printing {
        Printing { output: if one_line { Output::Oneline } else { Output::Minimal }, verbose, ..Printing::default() }
    }

    /// Also writes each host's last result into a directory.
    pub fn with_tree(self, tree: Option<PathBuf>) -> Printing {
        Printing { tree, ..self }
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
        let whole = [Callback::Minimal, Callback::Oneline, Callback::Json];
        !self.quiet && self.output == Output::Human && !self.callbacks().iter().any(|asked| whole.contains(asked))
    }

    /// Finds out before the run whether its report can be written.
    pub fn open(&self) -> std::result::Result<Option<File>, Diagnostic> {
        let open = |path: &PathBuf| {
            let opened = File::create(path);
            opened
                .map_err(|error| Diagnostic::new(format!("no report can be written to `{}`: {error}", path.display())))
        };
        let below = || {
            let directory = std::env::var_os("JUNIT_OUTPUT_DIR").map(PathBuf::from).unwrap_or_else(|| beside("log"));
            let _ = std::fs::create_dir_all(&directory);
            directory.join(format!("cutover-{}.xml", jiff::Timestamp::now().as_millisecond()))
        };
        let callback = self.has(Callback::Junit).then(below);
        self.junit.as_ref().or(callback.as_ref()).map(open).transpose()
    }

    /// Returns who reads a run of this name.
    pub fn reporter(
        &self,
        (mode, name): (Mode, &str),
        junit: Option<File>,
        progress: Option<ProgressBar>,
    ) -> Result<Box<dyn Reporter>> {
        let out = anstream::stdout();
        let human = |progress| Human::new(anstream::stdout(), mode, (self.verbose, !self.no_diff), progress);
        let first: Box<dyn Reporter> = match self.output {
            Output::Human if !self.quiet && self.has(Callback::Minimal) => Box::new(Minimal::new(out, false)),
            Output::Human if !self.quiet && self.has(Callback::Oneline) => Box::new(Minimal::new(out, true)),
            Output::Human if !self.quiet && self.has(Callback::Json) => Box::new(Whole::new(out)),
            Output::Human if !self.quiet && self.has(Callback::Yaml) => Box::new(human(progress).in_yaml()),
            Output::Json => Box::new(JsonLines::new(out, mode, name)?),
            Output::Minimal => Box::new(Minimal::new(out, false)),
            Output::Oneline => Box::new(Minimal::new(out, true)),
            Output::Human if self.quiet => Box::new(Quiet::new(out, mode, name.into())),
            Output::Human => Box::new(human(progress)),
        };
        let first: Box<dyn Reporter> = if self.has(Callback::ProfileTasks) && self.output == Output::Human {
            Box::new(Times::new(first, anstream::stdout()))
        } else {
            first
        };
        let first: Box<dyn Reporter> = if self.tree.is_some() || self.has(Callback::Tree) {
            let set = || std::env::var_os("ANSIBLE_CALLBACK_TREE_DIR").map(PathBuf::from);
            let directory = self.tree.clone().or_else(set);
            Box::new(Both(first, Box::new(Tree::new(directory.unwrap_or_else(|| beside("tree")))?)))
        } else {
            first
        };
        Ok(match junit {
            Some(file) => Box::new(Both(first, Box::new(Junit::new(BufWriter::new(file), name.into())))),
            None => first,
        })
    }
}

/// Where Ansible's callbacks write that are told nothing else.
fn beside(name: &str) -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    home.join(".ansible").join(name)
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

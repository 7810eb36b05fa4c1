//! `cutover show`: a plan for its reviewers.

use std::io::Write as _;
use std::path::PathBuf;

use super::keys::VaultPassword;
use super::sign::Verification;
use crate::cli::Stop;
use crate::report::{self, review};
use crate::run::plan::Plan;

/// Show a plan: as people read a check, or as Markdown, HTML or JSON.
#[derive(clap::Args)]
pub struct Arguments {
    /// The plan, as `cutover plan -o` saved it
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    /// How
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    format: Format,
    /// End with 3 where the plan has changes
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    verification: Verification,
    #[command(flatten)]
    vault: VaultPassword,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// As a check shows it
    Human,
    /// For a comment on a merge request
    Markdown,
    /// One page that needs nothing else
    Html,
    /// One document, for programs
    Json,
    /// For continuous integration: what is dangerous fails
    Junit,
}

pub fn run(arguments: &Arguments) -> Result<u8, Stop> {
    let text = Plan::read(&arguments.plan)?;
    for line in arguments.verification.check(&arguments.plan, text.as_bytes())? {
        writeln!(anstream::stderr(), "{line}").map_err(Stop::Output)?;
    }
    let mut plan = Plan::parse(&arguments.plan, &text, None)?;
    // What is encrypted is shown by its kind where the password is there, and never itself.
    if plan.steps.iter().any(|step| step.sealed.is_some())
        && let Some(password) = arguments.vault.read()?
    {
        plan = Plan::parse(&arguments.plan, &text, Some(&password))?;
    }
    let mut out = anstream::stdout();
    let text = match arguments.format {
        Format::Human => report::plain::print(&plan, &mut out).map(|()| String::new()).map_err(Stop::Output)?,
        Format::Markdown => report::markdown::page(&plan),
        Format::Html => report::html::page(&plan),
        Format::Json => review::json(&plan),
        Format::Junit => report::junit::plan(&plan).map_err(Stop::Output)?,
    };
    out.write_all(text.as_bytes()).map_err(Stop::Output)?;
    Ok(if arguments.exit_code && !plan.steps.is_empty() { 3 } else { 0 })
}

//! `cutover sign`: an approval of a plan, and who has to have given one before it is applied.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::plan::summary;
use super::terminal;
use crate::cli::Stop;
use crate::error::Diagnostic;
use crate::run::plan::Plan;
use crate::transport::ssh::signature::{AllowedSigners, Demand, Signature, SigningKey};

/// What a plan's signatures are for (PROTOCOL.sshsig): one that was made for mail or a commit approves no plan.
pub const NAMESPACE: &str = "cutover-plan";

/// Sign a plan with an SSH key: who applies it can demand that (`apply --verify`).
///
/// The signature goes to `PLAN.sig`, in the form of `ssh-keygen -Y sign -n cutover-plan`; another person's is added to it.
#[derive(clap::Args)]
pub struct Arguments {
    /// The plan, as `cutover plan -o` saved it
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    /// Sign with this private key, or with the agent's where this is its public key
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
}

pub async fn run(arguments: &Arguments) -> Result<u8, Stop> {
    let text = Plan::read(&arguments.plan)?;
    let plan = Plan::parse(&arguments.plan, &text, None)?;
    let signed = sign(&arguments.plan, text.as_bytes(), &arguments.key).await?;
    writeln!(anstream::stderr(), "{}\n{signed}", summary(&plan)).map_err(Stop::Output)?;
    Ok(0)
}

/// Adds a signature of a plan to those that it has, and says so. What is there of another content, of an older plan of
/// that name, is dropped.
pub async fn sign(plan: &Path, bytes: &[u8], key: &Path) -> Result<String, Diagnostic> {
    let keyring = terminal::keyring(None);
    let agent = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty()).map(PathBuf::from);
    let key = SigningKey { path: key, agent: agent.as_deref(), keyring: &keyring };
    let signature = key.sign(NAMESPACE, bytes).await?;
    let file = beside(plan);
    let kept = signatures(&file)?.into_iter().filter(|old| old.check(NAMESPACE, bytes).is_ok());
    let mut text = String::new();
    for old in kept.filter(|old| !old.is_by_the_key_of(&signature)) {
        text += &old.text()?;
    }
    text += &signature.text()?;
    let written = std::fs::write(&file, text);
    written.map_err(|error| Diagnostic::new(format!("`{}` cannot be written: {error}", file.display())))?;
    Ok(format!("signed with {}: `{}`", signature.key(), file.display()))
}

/// Who has to have signed.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Verification {
    /// Only with a signature (`PLAN.sig`) of somebody in this file, as in ssh-keygen(1), ALLOWED SIGNERS
    #[arg(long, value_name = "ALLOWED_SIGNERS")]
    verify: Option<PathBuf>,
    /// Only with a signature of this one; may be repeated, then of each
    #[arg(long, value_name = "PRINCIPAL", requires = "verify")]
    signer: Vec<String>,
}

impl Verification {
    /// Returns a line for each signature that counts, or why the plan is not signed as it has to be.
    pub fn check(&self, plan: &Path, bytes: &[u8]) -> Result<Vec<String>, Diagnostic> {
        let Some(allowed) = &self.verify else { return Ok(Vec::new()) };
        let allowed = AllowedSigners::read(allowed)?;
        let file = beside(plan);
        let signatures = signatures(&file)?;
        let demanded: Vec<Option<&str>> = match self.signer.is_empty() {
            true => vec![None],
            false => self.signer.iter().map(|name| Some(name.as_str())).collect(),
        };
        let mut lines = Vec::new();
        for principal in demanded {
            let demand = Demand { namespace: NAMESPACE, principal, now: jiff::Timestamp::now() };
            let judged = signatures.iter().map(|signature| {
                let whose = signature.check(NAMESPACE, bytes).and_then(|()| allowed.whose(signature, demand));
                (signature.key(), whose)
            });
            let judged: Vec<_> = judged.collect();
            let good =
                judged.iter().filter_map(|(key, whose)| Some(format!("signed by `{}`, {key}", whose.as_ref().ok()?)));
            let good: Vec<String> = good.collect();
            if good.is_empty() {
                let by = principal.map(|name| format!(" by `{name}`")).unwrap_or_default();
                let bad =
                    judged.iter().filter_map(|(key, whose)| Some(format!("\n  {key}: {}", whose.as_ref().err()?)));
                let bad: String = bad.collect();
                let bad = if bad.is_empty() { format!("\n  `{}` has no signature", file.display()) } else { bad };
                let error = Diagnostic::new(format!("the plan `{}` is not signed{by}:{bad}", plan.display()));
                return Err(error.hint(format!("`cutover sign {} --key KEY` signs it", plan.display())));
            }
            lines.extend(good);
        }
        lines.dedup();
        Ok(lines)
    }
}

/// The file with a plan's signatures.
fn beside(plan: &Path) -> PathBuf {
    let mut name = plan.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

fn signatures(file: &Path) -> Result<Vec<Signature>, Diagnostic> {
    let text = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|error| Diagnostic::new(format!("`{}` cannot be read: {error}", file.display())))?,
    };
    Signature::read_all(&text).map_err(|why| Diagnostic::new(format!("`{}`: {why}", file.display())))
}

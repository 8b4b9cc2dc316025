//! `xshield policy`: policy as code, and the committed policy.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use xshield_api::Timestamp;
use xshield_api::changes::{self, changes};
use xshield_api::impact::ExpectedImpact;
use xshield_api::policy::{
    CandidatePolicy, CommitProspect, DiffQuery, DocumentChange, ImpactQuery, PolicyInput,
    PolicyRevision, PutQuery, Restore, Restored, Synchronize, Synchronized, Validated,
};
use xshield_api::words::counted;
use xshield_policy::document::Document;

use crate::client::{Client, Path, parsed, view};
use crate::error::CliError;
use crate::policy_files::PolicyFiles;
use crate::policy_impact::{Agreement, in_words, of_a_dry_run};
use crate::terminal::{Output, Table, cell, note, number, print};
use crate::times::relative;

/// Policy as code: validate, apply, synchronize, compare, restore.
#[derive(Debug, Args)]
pub struct PolicyCommand {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Replace the candidate policy by what is in files, as a whole or not at all.
    Apply(Apply),
    /// Print the candidate policy, or a revision, as YAML.
    Get {
        /// This revision instead of the candidate.
        #[arg(long, value_name = "N")]
        revision: Option<u64>,
    },
    /// Check a policy, also against the platform's inventory, without changing anything.
    Validate {
        #[command(flatten)]
        sources: Sources,
        /// Check the files only, without asking the platform.
        #[arg(long)]
        local: bool,
    },
    /// Commit the candidate policy: compile it for every asset and give it to the hosts.
    Synchronize {
        /// A note for the list of revisions.
        #[arg(long, default_value = "")]
        note: String,
        #[command(flatten)]
        agreement: Agreement,
    },
    /// List the committed revisions, the newest first.
    Revisions {
        /// How many to show at most.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// Make an earlier revision the candidate.
    Restore {
        /// The revision.
        revision: u64,
        /// Also commit it, as a new revision.
        #[arg(long)]
        synchronize: bool,
        #[command(flatten)]
        agreement: Agreement,
    },
    /// Show what differs between the committed policy and the candidate, or two revisions.
    Diff {
        /// The earlier revision; the committed one when left out.
        #[arg(long, value_name = "N")]
        from: Option<u64>,
        /// The later revision; the candidate when left out.
        #[arg(long, value_name = "N")]
        to: Option<u64>,
    },
}

/// Where the policy's documents are.
#[derive(Debug, Args)]
struct Sources {
    /// Files, or directories with *.yaml and *.yml files; - is standard input.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The same, as an option.
    #[arg(short, long = "file", value_name = "PATH", num_args = 1..)]
    files: Vec<PathBuf>,
}

impl Sources {
    fn all(self) -> Vec<PathBuf> {
        [self.paths, self.files].concat()
    }

    /// At least one; `command` is the command line so far.
    fn needed(self, command: &str) -> Result<Vec<PathBuf>, CliError> {
        let all = self.all();
        if all.is_empty() {
            return Err(CliError::Usage(format!(
                "give the files or directories with the policy, e.g. {command} -f policy/"
            )));
        }
        Ok(all)
    }
}

#[derive(Debug, Args)]
struct Apply {
    #[command(flatten)]
    sources: Sources,
    /// Check, and show what would change, without changing anything.
    #[arg(long)]
    dry_run: bool,
    /// Also commit it, if it compiles for every asset.
    #[arg(long)]
    synchronize: bool,
    /// A note for the list of revisions.
    #[arg(long, default_value = "", requires = "synchronize")]
    note: String,
    #[command(flatten)]
    agreement: Agreement,
}

impl PolicyCommand {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let output = self.output;
        match self.action {
            Action::Apply(apply) => apply.run(output),
            Action::Get { revision } => get(&Client::of_this_call()?, revision, output),
            Action::Validate { sources, local: true } => {
                validate_locally(&sources.needed("xshield policy validate --local")?, output)
            }
            Action::Validate { sources, local: false } => validate(&sources.all(), output),
            Action::Synchronize { note, agreement } => {
                let client = Client::of_this_call()?;
                let CommitProspect { candidate_version, impact, .. } = prospect(&client, None)?;
                let expected = agreement.settle(&impact)?;
                let answer = synchronize(&client, candidate_version, &expected, &note)?;
                show_synchronized(&answer, output)
            }
            Action::Revisions { limit } => revisions(&Client::of_this_call()?, limit, output),
            Action::Restore { revision, synchronize, agreement } => {
                let agreement = agreed(agreement, synchronize)?;
                restore(&Client::of_this_call()?, revision, agreement.as_ref(), output)
            }
            Action::Diff { from, to } => diff(&Client::of_this_call()?, from, to, output),
        }
    }
}

fn candidate_path() -> Path {
    Path::of(&["policy"])
}

impl Apply {
    fn run(self, output: Output) -> Result<(), CliError> {
        let agreement = agreed(self.agreement, self.synchronize)?;
        // Nothing is sent before everything is validated here.
        let files = PolicyFiles::read(&self.sources.needed("xshield policy apply")?)?;
        let client = Client::of_this_call()?;
        let action = "apply the policy";
        let before: CandidatePolicy = parsed(action, &client.get(action, &candidate_path())?)?;
        let body = input(action, &files.documents)?;
        let validated = client
            .try_out(action, &Path::of(&["policy", "validate"]), &body)
            .map_err(|error| files.name_sources(error))?;
        let Validated { warnings, impact, .. } = view(action, &validated)?;
        if self.dry_run || !self.synchronize {
            // Synchronizing reports the same warnings.
            warn(&warnings);
        }
        let changes =
            changes(&parsed::<Vec<Document>>(action, &before.documents)?, &files.documents);
        let changes = changes::text(&changes.map_err(|error| CliError::input(error.to_string()))?);
        if self.dry_run {
            return output.show(&validated, |_| {
                let would = would_change(&changes);
                Ok(format!("{would}\n{}", of_a_dry_run(&impact)))
            });
        }
        if agreement.is_some() && !output.is_json() {
            print(&changes)?;
        }
        let expected = agreement.map(|agreement| agreement.settle(&impact)).transpose()?;
        let path =
            candidate_path().of_query(&PutQuery { expected_version: Some(before.version) })?;
        let put = client.put(action, &path, &body).map_err(|error| files.name_sources(error))?;
        let after: CandidatePolicy = parsed(action, &put)?;
        if let Some(expected) = expected {
            let done = synchronize(&client, after.version, &expected, &self.note)?;
            return show_synchronized(&done, output);
        }
        if !output.is_json() {
            print(&changes)?;
        }
        output.show(&put, |_| {
            Ok(format!(
                "The candidate is version {}, {}. Commit it with: xshield policy synchronize",
                after.version,
                counted(after.documents.as_array().map_or(0, Vec::len), "document")
            ))
        })
    }
}

/// Documents as the API takes them.
fn input(action: &str, documents: &[Document]) -> Result<PolicyInput, CliError> {
    let documents = documents.iter().map(serde_json::to_value).collect::<Result<_, _>>();
    let documents =
        documents.map_err(|source| CliError::Answer { action: action.to_owned(), source })?;
    Ok(PolicyInput { documents: Some(documents), files: None })
}

fn would_change(changes: &str) -> String {
    if changes.is_empty() {
        return "The policy is valid, and is already the candidate.".to_owned();
    }
    format!("{changes}The policy is valid; nothing was changed (dry run).")
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        note(&format!("warning: {warning}"));
    }
}

fn get(client: &Client, revision: Option<u64>, output: Output) -> Result<(), CliError> {
    let action = "read the policy";
    let answer = client.get(action, &version_path(revision))?;
    output.show(&answer, |_| {
        let documents: Vec<Document> = parsed(action, &answer["documents"])?;
        to_yaml(&documents)
    })
}

/// The documents as YAML, as they could have been written.
fn to_yaml(documents: &[Document]) -> Result<String, CliError> {
    let texts: Result<Vec<_>, _> = documents.iter().map(serde_saphyr::to_string).collect();
    let texts =
        texts.map_err(|error| CliError::input(format!("no YAML for the policy: {error}")))?;
    if texts.is_empty() {
        return Ok("# There are no documents.\n".to_owned());
    }
    Ok(texts.join("---\n"))
}

fn version_path(revision: Option<u64>) -> Path {
    match revision {
        Some(revision) => Path::of(&["policy", "revisions", &revision.to_string()]),
        None => candidate_path(),
    }
}

fn validate_locally(files: &[PathBuf], output: Output) -> Result<(), CliError> {
    let files = PolicyFiles::read(files)?;
    let count = files.documents.len();
    output.show(&json!({ "documents": count, "warnings": [] }), |_| {
        Ok(format!("{}, no errors. The platform was not asked.", counted(count, "document")))
    })
}

fn validate(paths: &[PathBuf], output: Output) -> Result<(), CliError> {
    let action = "validate the policy";
    let path = Path::of(&["policy", "validate"]);
    let answer = if paths.is_empty() {
        let client = Client::of_this_call()?;
        let candidate: CandidatePolicy = parsed(action, &client.get(action, &candidate_path())?)?;
        // As stored: documents of a newer platform are its own to judge.
        let documents = parsed(action, &candidate.documents)?;
        client.try_out(action, &path, &PolicyInput { documents: Some(documents), files: None })?
    } else {
        let files = PolicyFiles::read(paths)?;
        let body = input(action, &files.documents)?;
        let answer = Client::of_this_call()?.try_out(action, &path, &body);
        answer.map_err(|error| files.name_sources(error))?
    };
    output.show(&answer, |_| {
        let validated: Validated = view(action, &answer)?;
        warn(&validated.warnings);
        let found = format!("{}, no errors.", counted(validated.documents, "document"));
        Ok(format!("{found}\n{}", in_words(&validated.impact)))
    })
}

/// How a commit is confirmed; `None` when nothing is committed.
fn agreed(agreement: Agreement, commits: bool) -> Result<Option<Agreement>, CliError> {
    if !commits && agreement.is_given() {
        return Err(CliError::input("--yes and --expect-impact go with --synchronize"));
    }
    Ok(commits.then_some(agreement))
}

/// The impact of committing the candidate, or a revision.
fn prospect(client: &Client, revision: Option<u64>) -> Result<CommitProspect, CliError> {
    let action = "determine the impact";
    let path = Path::of(&["policy", "impact"]).of_query(&ImpactQuery { revision })?;
    view(action, &client.get(action, &path)?)
}

fn synchronize(
    client: &Client,
    expected_version: u64,
    expected_impact: &ExpectedImpact,
    note: &str,
) -> Result<Value, CliError> {
    let expected_impact = expected_impact.clone();
    let wish = Synchronize { expected_version, expected_impact, note: note.to_owned() };
    let path = Path::of(&["policy", "synchronize"]);
    client.post_long("synchronize the policy", &path, &wish, "xshield policy revisions")
}

fn show_synchronized(answer: &Value, output: Output) -> Result<(), CliError> {
    output.show(answer, |_| {
        let done: Synchronized = view("synchronize the policy", answer)?;
        warn(&done.warnings);
        Ok(committed(&done))
    })
}

fn committed(done: &Synchronized) -> String {
    let have = if done.assets == 1 { "has" } else { "have" };
    let assets = counted(done.assets, "asset");
    format!("Committed revision {}; {assets} {have} a ruleset of it.", done.revision)
}

fn revisions(client: &Client, limit: usize, output: Output) -> Result<(), CliError> {
    let action = "list revisions";
    let answer = client.list(action, &Path::of(&["policy", "revisions"]), Some(limit))?;
    output.show(&answer, |screen| {
        let now = Timestamp::now();
        let mut table =
            Table::new(&["REVISION", "COMMITTED", "BY", "NOTE"], "No policy is committed yet.");
        for revision in view::<Vec<PolicyRevision>>(action, &answer["items"])? {
            table.row(vec![
                number(revision.revision),
                cell(relative(revision.committed_at, now)),
                cell(revision.committed_by),
                cell(revision.note),
            ]);
        }
        Ok(table.render(screen))
    })
}

fn restore(
    client: &Client,
    revision: u64,
    agreement: Option<&Agreement>,
    output: Output,
) -> Result<(), CliError> {
    let action = "restore the revision";
    let path = Path::of(&["policy", "revisions", &revision.to_string(), "restore"]);
    let wish = match agreement {
        Some(agreement) => {
            let expected = agreement.settle(&prospect(client, Some(revision))?.impact)?;
            Restore { synchronize: true, expected_impact: expected }
        }
        None => Restore { synchronize: false, expected_impact: ExpectedImpact::default() },
    };
    let see = match agreement {
        Some(_) => "xshield policy revisions",
        None => "xshield policy diff",
    };
    let answer = client.post_long(action, &path, &wish, see)?;
    output.show(&answer, |_| {
        let restored: Restored = view(action, &answer)?;
        Ok(match restored.synchronized {
            Some(done) => {
                warn(&done.warnings);
                committed(&done)
            }
            None => format!(
                "The candidate is now the policy of revision {revision}. Commit it with: xshield policy synchronize"
            ),
        })
    })
}

fn diff(
    client: &Client,
    from: Option<u64>,
    to: Option<u64>,
    output: Output,
) -> Result<(), CliError> {
    let action = "compare policies";
    let path = Path::of(&["policy", "diff"]).of_query(&DiffQuery { from, to })?;
    let answer = client.get(action, &path)?;
    output.show(&answer["changes"], |_| {
        let found: Vec<DocumentChange> = view(action, &answer["changes"])?;
        Ok(match found.is_empty() {
            true => "No differences.".to_owned(),
            false => changes::text(&found),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshield_policy::document::{Policy, parse};

    #[test]
    fn a_printed_policy_parses_to_itself() {
        let text = "
segment:
  name: web
  criteria: >-
    application = 'it is: # odd' and role in ('web', 'yes')
  templates: [web-tier]
  inbound: { level: secure-inbound-paths, mode: enforce }
---
template:
  name: web-tier
  action: allow
  ports:
    - { name: ssh, from: [any, 10.0.0.0/8, '::1'], services: [tcp/22, icmp/echo-request, udp/1-5], process: /usr/sbin/sshd }
  outbound:
    - { to: ['domain:repo.example.com', internet, 'segment:web'], services: [any] }
---
network: { name: '1e3', cidrs: [2001:db8::/32], domains: [a.example], intranet: true }
---
asset: { name: 'null', templates: [web-tier] }
---
settings: { management: [ { from: [10.0.0.1], services: [tcp/22] } ] }
";
        let documents = parse(text, "t.yaml").unwrap();
        let printed = to_yaml(&documents).unwrap();
        let again = parse(&printed, "printed.yaml").unwrap();
        assert_eq!(again, documents, "{printed}");
        assert!(Policy::build(again).is_ok());
        assert!(to_yaml(&[]).unwrap().starts_with('#'));
    }
}

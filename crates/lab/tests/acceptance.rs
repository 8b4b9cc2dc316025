//! The acceptance script for real Windows servers, as far as it can be checked where there is no PowerShell:
//! its grammar, what it uses of PowerShell, which claims it knows, and what it runs of Spark and the platform.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use regex::Regex;
use tree_sitter::{Node, Parser, Tree};
use xshield_lab::Programs;

/// Cmdlets and programs that Windows Server 2008 R2 has, with the parameters that the script uses of them.
const ALLOWED: [(&str, &[&str]); 26] = [
    ("Add-Content", &["Path", "Value", "Encoding"]),
    ("Add-Type", &["TypeDefinition"]),
    ("auditpol", &[]),
    ("Copy-Item", &["Path", "Destination", "Force"]),
    ("Get-Acl", &[]),
    ("Get-AuthenticodeSignature", &["FilePath"]),
    ("Get-Content", &["Path", "Encoding"]),
    ("Get-Date", &["Format"]),
    ("Get-WmiObject", &[]),
    ("icacls", &[]),
    ("Join-Path", &[]),
    ("netsh", &[]),
    ("New-Item", &["ItemType", "Force", "Path"]),
    ("New-Object", &["Property"]),
    ("Out-Null", &[]),
    ("Read-Host", &[]),
    ("Restart-Computer", &["Force"]),
    ("schtasks", &[]),
    ("Set-Content", &["Path", "Value", "Encoding"]),
    ("Set-StrictMode", &["Version"]),
    ("Split-Path", &["Parent"]),
    ("Start-Sleep", &["Seconds", "Milliseconds"]),
    ("Test-Path", &[]),
    ("wevtutil", &[]),
    ("Write-Host", &[]),
    // Not a cmdlet: what `$Condition` holds is called.
    ("$Condition", &[]),
];
/// The operators of PowerShell 2.0 that compare.
const COMPARISONS: [&str; 15] = [
    "-as",
    "-notcontains",
    "-eq",
    "-ne",
    "-lt",
    "-le",
    "-gt",
    "-ge",
    "-like",
    "-match",
    "-notmatch",
    "-replace",
    "-split",
    "-contains",
    "-join",
];
/// Variables that PowerShell 2.0 sets.
const AUTOMATIC: [&str; 8] = [
    "$_",
    "$true",
    "$false",
    "$null",
    "$matches",
    "$myinvocation",
    "$erroractionpreference",
    "$args",
];
/// Methods and types that came with .NET 4, which Windows Server 2008 R2 need not have.
const TOO_NEW: [&str; 6] =
    ["IsNullOrWhiteSpace", "[ordered]", "PSCustomObject", "PSScriptRoot", ".Where(", ".ForEach("];

/// The script, parsed.
struct Script {
    text: String,
    tree: Tree,
}

impl Script {
    fn read() -> Result<Self> {
        let text = page("packages/windows/accept.ps1")?;
        let mut parser = Parser::new();
        parser.set_language(&tree_sitter_powershell::LANGUAGE.into())?;
        let tree = parser.parse(&text, None).context("the parser gave up")?;
        Ok(Self { text, tree })
    }

    fn text_of(&self, node: Node<'_>) -> &str {
        &self.text[node.byte_range()]
    }

    /// Every node of these kinds, in the order of the text.
    fn all(&self, kinds: &[&str]) -> Vec<Node<'_>> {
        let mut found = Vec::new();
        let mut ahead = vec![self.tree.root_node()];
        while let Some(node) = ahead.pop() {
            if kinds.contains(&node.kind()) {
                found.push(node);
            }
            let mut cursor = node.walk();
            let children: Vec<_> = node.children(&mut cursor).collect();
            ahead.extend(children.into_iter().rev());
        }
        found
    }

    /// The commands of this name, each with its first argument, if that is a text.
    fn first_arguments(&self, names: &[&str]) -> Vec<String> {
        let commands = self.all(&["command"]).into_iter();
        let named = commands.filter(|node| names.contains(&self.name(*node)));
        named.filter_map(|node| self.first_text(node)).collect()
    }

    fn name(&self, command: Node<'_>) -> &str {
        let mut cursor = command.walk();
        let name = command
            .children(&mut cursor)
            .find(|child| child.kind().starts_with("command_name"))
            .map(|child| self.text_of(child));
        name.unwrap_or_default()
    }

    fn first_text(&self, command: Node<'_>) -> Option<String> {
        let rest = self.text_of(command).split_once(char::is_whitespace)?.1;
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let end = Regex::new(&format!("(?s)^{quote}((?:[^{quote}`]|`.)*){quote}")).ok()?;
        Some(end.captures(rest)?[1].to_owned())
    }

    /// The value of a variable that is a text over several lines.
    fn here_string(&self, variable: &str) -> Result<&str> {
        let start = format!("${variable} = @'\n");
        let (_, rest) = self.text.split_once(&start).with_context(|| format!("no {start:?}"))?;
        let (inner, _) = rest.split_once("\n'@").context("no end")?;
        Ok(inner)
    }
}

fn page(path: &str) -> Result<String> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path);
    fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
}

/// A text of the script with the values that its variables have there.
fn filled(text: &str) -> String {
    let values = [
        ("$Peer", "10.0.0.9"),
        ("$HostName", "server-1"),
        ("$InAllowed", "7103"),
        ("$Tag", "closed"),
    ];
    values.iter().fold(text.replace('`', ""), |text, (name, value)| text.replace(name, value))
}

/// The words of a command line, as Windows and shells split this simple kind.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            c => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Fails unless a program knows the command and its options.
fn is_known(program: &PathBuf, arguments: &[String]) -> Result<()> {
    let output = Command::new(program).args(arguments).arg("--help").output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} {arguments:?}: {text}", program.display());
    Ok(())
}

#[test]
fn the_script_is_powershell_2() -> Result<()> {
    let script = Script::read()?;
    if let Some(node) = script.all(&["ERROR"]).first() {
        bail!("line {}: {}", node.start_position().row + 1, script.text_of(*node));
    }
    ensure!(!script.tree.root_node().has_error(), "something is missing");
    let functions: BTreeSet<String> =
        script.all(&["function_name"]).iter().map(|n| script.text_of(*n).to_owned()).collect();
    let commands = script.all(&["command"]);
    ensure!(commands.len() > 100 && functions.len() > 20, "{} commands", commands.len());
    for command in commands {
        let line = command.start_position().row + 1;
        let name = script.name(command);
        let allowed = ALLOWED.iter().find(|(allowed, _)| *allowed == name);
        ensure!(
            allowed.is_some() || functions.contains(name),
            "line {line}: {name} is neither a function of the script nor known of PowerShell 2.0"
        );
        let (Some((_, parameters)), mut cursor) = (allowed, command.walk()) else { continue };
        let elements = command.child_by_field_name("command_elements");
        for child in elements.into_iter().flat_map(|e| e.children(&mut cursor).collect::<Vec<_>>())
        {
            let text = script.text_of(child).trim_start_matches('-');
            ensure!(
                child.kind() != "command_parameter" || parameters.contains(&text),
                "line {line}: {name} -{text} is not known of PowerShell 2.0"
            );
        }
    }
    for node in script.all(&["comparison_operator"]) {
        let operator = script.text_of(node).to_lowercase();
        ensure!(
            COMPARISONS.contains(&operator.as_str()),
            "{operator} in line {}",
            node.start_position().row + 1
        );
    }
    for text in TOO_NEW {
        ensure!(!script.text.contains(text), "{text} is newer than PowerShell 2.0");
    }
    Ok(())
}

#[test]
fn every_variable_of_the_script_is_set_somewhere() -> Result<()> {
    let script = Script::read()?;
    let all: Vec<_> = script.all(&["variable"]);
    let is_set = |node: &Node<'_>| {
        let mut above = *node;
        while let Some(parent) = above.parent() {
            match parent.kind() {
                "script_parameter" => return true,
                // `+=` needs a value that is there.
                "left_assignment_expression" => {
                    return parent.next_sibling().is_some_and(|sign| script.text_of(sign) == "=");
                }
                "foreach_statement" => return parent.child(2) == Some(above),
                "statement_block" | "script_block" | "pipeline" => return false,
                _ => above = parent,
            }
        }
        false
    };
    let name = |node: &Node<'_>| script.text_of(*node).replace(['{', '}'], "").to_lowercase();
    let set: BTreeSet<String> = all.iter().filter(|node| is_set(node)).map(name).collect();
    ensure!(set.len() > 50, "{set:?}");
    for node in &all {
        let name = name(node);
        ensure!(
            set.contains(&name) || AUTOMATIC.contains(&name.as_str()) || name.starts_with("$env:"),
            "line {}: {name} is never set",
            node.start_position().row + 1
        );
    }
    Ok(())
}

#[test]
fn the_script_knows_the_claims_of_the_documentation_and_no_others() -> Result<()> {
    let script = Script::read()?;
    let links = Regex::new(r"\[([^\]]*)\]\([^)]*\)")?;
    let row = Regex::new(r"(?m)^\| `([a-z0-9-]+)` \| (.*?) \| (.*?) \| (.*?) ?\|$")?;
    let documentation = page("docs/windows.md")?;
    let wanted: Vec<String> = row
        .captures_iter(&documentation)
        .map(|row| format!("{}: {}", &row[1], links.replace_all(&row[2], "$1").replace('`', "")))
        .collect();
    let known: Vec<&str> = script.here_string("ClaimList")?.lines().collect();
    ensure!(wanted.len() > 50 && wanted == known, "{wanted:#?}\nis not\n{known:#?}");
    let ids: BTreeSet<&str> = known.iter().filter_map(|line| line.split(": ").next()).collect();
    ensure!(ids.len() == known.len(), "an id is given twice");
    let tested = script.first_arguments(&["Set-Claim", "Compare-Claim"]);
    ensure!(tested.len() > 20, "{tested:?}");
    for id in tested {
        ensure!(ids.contains(id.as_str()), "{id} is no claim");
    }
    Ok(())
}

#[test]
fn programs_know_the_commands_of_the_script() -> Result<()> {
    let script = Script::read()?;
    let programs = Programs::of_this_build()?;
    let spark = programs.spark()?;
    let runs = script.first_arguments(&["Invoke-Spark", "Start-Spark"]);
    ensure!(runs.len() > 10, "{runs:?}");
    for run in runs {
        // The one command that only programs for Windows have; `lab::verbs` runs it.
        if run == "verify --json" {
            continue;
        }
        is_known(&spark, &words(&filled(&run)))?;
    }
    ensure!(is_known(&spark, &["--nonsense".to_owned()]).is_err(), "anything is accepted");
    let platform = programs.platform()?;
    let line = Regex::new(r#"xshield ([a-z][^;'"]*)"#)?;
    let code = script.text.split_once("# ---- the steps").context("steps")?.1;
    let lines: Vec<String> = line.captures_iter(code).map(|found| filled(&found[1])).collect();
    ensure!(lines.len() > 5, "{lines:?}");
    for line in lines {
        is_known(&platform, &words(&line))?;
    }
    Ok(())
}

#[test]
fn the_platform_accepts_the_policy_of_the_script() -> Result<()> {
    let script = Script::read()?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("policy.yaml");
    fs::write(&file, script.here_string("Policy")?.replace("ADDRESS", "10.0.0.9"))?;
    let mut command = Command::new(Programs::of_this_build()?.platform()?);
    let output = command.args(["policy", "validate", "--local", "-f"]).arg(&file).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn the_problems_of_the_script_are_those_of_the_documentation() -> Result<()> {
    let script = Script::read()?;
    let hosts = page("docs/operations/hosts.md")?;
    let code = Regex::new(r"Test-Problem \$run '([a-z-]+)'")?;
    let codes: Vec<_> = code.captures_iter(&script.text).map(|found| found[1].to_owned()).collect();
    ensure!(!codes.is_empty(), "the script asks for no problem");
    for code in codes {
        ensure!(hosts.contains(&format!("`{code}`")), "{code} is not in hosts.md");
    }
    Ok(())
}

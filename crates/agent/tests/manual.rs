//! The manual pages and `--help` name the same commands and options.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

const PAGES: [(&str, &str); 2] = [
    (env!("CARGO_BIN_EXE_ctagent"), include_str!("../../../packages/man/ctagent.8")),
    (env!("CARGO_BIN_EXE_ctagentcmd"), include_str!("../../../packages/man/ctagentcmd.8")),
];

fn help(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).arg("--help").output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The words after `  ` in the list of commands.
fn commands(help: &str) -> Vec<&str> {
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").collect()
}

#[test]
fn every_command_and_option_is_in_the_manual() {
    for (program, page) in PAGES {
        let page = page.replace('\\', "");
        let top = help(program, &[]);
        for command in commands(&top) {
            assert!(page.contains(command), "{program}: {command}");
            let text = help(program, &[command]);
            let options = text.split_whitespace().filter(|word| word.starts_with("--"));
            for option in options.map(|word| word.trim_matches([',', '.', '`', ';', ':'])) {
                let known = ["--help", "--version"].contains(&option) || page.contains(option);
                assert!(known, "{program} {command} {option}");
            }
        }
    }
}

#[test]
fn invalid_command_lines_exit_with_2_and_completions_are_generated() {
    for (program, _) in PAGES {
        let output = Command::new(program).arg("--nonsense").output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        for shell in ["bash", "zsh", "fish"] {
            let output = Command::new(program).args(["completions", shell]).output().unwrap();
            assert!(output.status.success() && output.stdout.len() > 500, "{program} {shell}");
        }
    }
}

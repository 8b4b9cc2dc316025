//! The manual page and `--help` name the same commands, options and exit codes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ctspark")).args(arguments).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_manual_page_lists_every_command_option_and_exit_code() {
    let page = include_str!("../../../packages/man/ctspark.1").replace('\\', "");
    let help = help(&["--help"]);
    for command in ["run", "status", "restore", "remove", "explain"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is in --help");
        assert!(
            page.contains(&format!(".B {command}\n")) || page.contains(&format!(".BI {command}"))
        );
    }
    assert!(help.contains("\n  threat ") && page.contains(".BI \"threat lookup\""));
    for option in ["--config", "--json"] {
        assert!(help.contains(option) && page.contains(option), "{option}");
    }
    for code in 0..=8 {
        assert!(help.contains(&format!("\n  {code}  ")), "exit code {code} is in --help");
        assert!(page.contains(&format!("\n.B {code}\n")), "exit code {code} is in the manual page");
    }
}

#[test]
fn invalid_command_lines_and_configurations_exit_with_2() {
    for arguments in [
        &["--nonsense"][..],
        &["explain", "in tcp nonsense"],
        &["threat", "lookup", "example.org"],
        &["run", "--config", "/nonexistent/spark.yaml"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_ctspark")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

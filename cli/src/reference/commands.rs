//! Command lines, as clap has them: docs/reference/cli.md.

use clap::builder::StyledStr;
use clap::{Arg, Command};

/// A section for each command of a program, in Markdown.
pub fn sections(program: &str, command: &Command) -> String {
    let mut all: Vec<&Command> = command.get_subcommands().filter(|c| !c.is_hide_set()).collect();
    all.sort_by_key(|c| c.get_display_order());
    let mut out = String::new();
    let globals: Vec<&Arg> = command.get_arguments().filter(|a| a.is_global_set()).collect();
    if !globals.is_empty() {
        out.push_str(&format!("Options of every `{program}` command:\n\n{}", table(&globals)));
    }
    for c in all {
        section(program, c, &mut out);
    }
    out
}

fn section(prefix: &str, command: &Command, out: &mut String) {
    let name = format!("{prefix} {}", command.get_name());
    out.push_str(&format!("### {name}\n\n{}\n\n", about(command)));
    let args: Vec<&Arg> = command.get_arguments().filter(|a| !a.is_hide_set()).collect();
    if !args.is_empty() {
        out.push_str(&table(&args));
    }
    if let Some(text) = command.get_after_help() {
        out.push_str(&format!("```text\n{}\n```\n\n", plain(text).trim_end()));
    }
    for c in command.get_subcommands().filter(|c| c.get_name() != "help") {
        section(&name, c, out);
    }
}

fn about(command: &Command) -> String {
    let text = command.get_long_about().or_else(|| command.get_about());
    text.map(plain).unwrap_or_default()
}

fn table(args: &[&Arg]) -> String {
    let mut out = String::from("| option | default | |\n|-|-|-|\n");
    for a in args.iter().filter(|a| a.get_id() != "help" && a.get_id() != "version") {
        let default: Vec<String> = a
            .get_default_values()
            .iter()
            .map(|v| format!("`{}`", v.to_string_lossy()))
            .collect();
        let default = if a.get_action().takes_values() {
            default.join(", ")
        } else {
            String::new()
        };
        let help = a
            .get_long_help()
            .or_else(|| a.get_help())
            .map(plain)
            .unwrap_or_default();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        out.push_str(&format!(
            "| {} | {default} | {}{} |\n",
            spelling(a),
            cell(&help),
            required(a)
        ));
    }
    out.push('\n');
    out
}

fn required(a: &Arg) -> &'static str {
    match (a.is_required_set(), a.get_help()) {
        (true, Some(_)) => " (required)",
        (true, None) => "required",
        _ => "",
    }
}

/// `--set NAME=VALUE`, `-o O`, `[FILE]`.
fn spelling(a: &Arg) -> String {
    let possible: Vec<String> = a
        .get_possible_values()
        .iter()
        .map(|v| v.get_name().to_string())
        .collect();
    let names = || {
        a.get_value_names()
            .unwrap_or_default()
            .iter()
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let value = match a.get_action().takes_values() {
        false => String::new(),
        true if possible.is_empty() => format!(" {}", names()),
        true => format!(" {}", possible.join("|")),
    };
    let flag = match (a.get_short(), a.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}{value}"),
        (None, Some(long)) => format!("--{long}{value}"),
        (Some(short), None) => format!("-{short}{value}"),
        (None, None) => value.trim().to_string(),
    };
    format!("`{}`", cell(&flag))
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn plain(text: &StyledStr) -> String {
    text.to_string()
}

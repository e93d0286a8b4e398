//! Shell completions and manual pages, generated from the command line's definition.

use crate::atomic::{create_dir, write_bytes};
use crate::error::Error;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use std::path::PathBuf;

#[derive(Args)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

#[derive(Args)]
pub struct ManArgs {
    /// The command, such as `data check`; default: the page that lists all commands.
    command: Vec<String>,
    /// Write the pages of all commands into this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    out: Option<PathBuf>,
}

/// The text that a shell reads to complete `name`'s command lines.
pub fn completions(mut command: Command, name: &str, args: &CompletionsArgs) -> String {
    let mut text = vec![];
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The page asked for, or what was written.
///
/// # Errors
/// Where there is no such command, or the folder cannot be written.
pub fn man(command: Command, name: &str, args: &ManArgs) -> Result<String, Error> {
    // Names are for the whole program, which ends after this.
    let mut command = command.disable_help_subcommand(true).name(&*name.to_string().leak());
    command.build();
    let Some(dir) = &args.out else {
        let mut page = command;
        for sub in &args.command {
            page = match page.find_subcommand(sub) {
                Some(found) => page_of(&page, found),
                None => return Err(no_such(&page, sub)),
            };
        }
        return render(page).map(|text| String::from_utf8_lossy(&text).into_owned());
    };
    create_dir(dir)?;
    let mut pages = vec![command];
    let mut written = 0;
    while let Some(page) = pages.pop() {
        pages.extend(page.get_subcommands().map(|sub| page_of(&page, sub)));
        let path = dir.join(format!("{}.1", page.get_name()));
        write_bytes(&path, &render(page)?)?;
        written += 1;
    }
    Ok(format!("wrote {written} pages to {}\n", dir.display()))
}

/// A command by itself, which is named after those before it too.
fn page_of(command: &Command, sub: &Command) -> Command {
    let name = format!("{}-{}", command.get_name(), sub.get_name());
    sub.clone().name(&*name.leak())
}

fn no_such(command: &Command, sub: &str) -> Error {
    let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    Error::Usage(format!("there is no command `{sub}`; there are {}", names.join(", ")))
}

fn render(command: Command) -> Result<Vec<u8>, Error> {
    let mut text = vec![];
    Man::new(command)
        .render(&mut text)
        .map_err(Error::io("write", "standard output".as_ref()))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Parser, Subcommand};

    /// Does things.
    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: Sub,
    }

    #[derive(Subcommand)]
    enum Sub {
        /// Looks at things.
        Look {
            /// How far.
            #[arg(long)]
            far: bool,
            #[command(subcommand)]
            inner: Option<Inner>,
        },
    }

    #[derive(Subcommand)]
    enum Inner {
        /// Looks twice.
        Twice,
    }

    fn line() -> Command {
        <Line as clap::CommandFactory>::command()
    }

    #[test]
    fn every_command_has_a_page_and_completions_know_its_options() {
        let dir = tempfile::tempdir().unwrap();
        let args = |command: &[&str], out: Option<PathBuf>| ManArgs {
            command: command.iter().map(|c| c.to_string()).collect(),
            out,
        };
        man(line(), "prog", &args(&[], Some(dir.path().join("pages")))).unwrap();
        let files = std::fs::read_dir(dir.path().join("pages")).unwrap();
        let mut names: Vec<_> = files.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["prog-look-twice.1", "prog-look.1", "prog.1"]);
        let page = man(line(), "prog", &args(&["look"], None)).unwrap();
        assert!(page.contains("Looks at things") && page.contains("How far"), "{page}");
        assert!(
            man(line(), "prog", &args(&["look", "twice"], None))
                .unwrap()
                .contains("Looks twice")
        );
        let error = man(line(), "prog", &args(&["lok"], None)).unwrap_err().to_string();
        assert!(error.contains("`lok`") && error.contains("look"), "{error}");
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = completions(line(), "prog", &CompletionsArgs { shell });
            assert!(text.contains("prog") && text.contains("far"), "{shell}: {text}");
        }
    }
}

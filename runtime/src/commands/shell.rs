//! What shells and `man` need to know of a command line: made of its own definition, so that it is never behind it.

use crate::atomic::{create_dir, write_bytes};
use crate::error::Error;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use std::path::PathBuf;

#[derive(Args)]
pub struct CompletionsArgs {
    /// The shell that completes.
    shell: Shell,
}

#[derive(Args)]
pub struct ManArgs {
    /// The command whose page to print; by default the page that lists them all.
    command: Option<String>,
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
    let mut command = command.name(&*name.to_string().leak());
    command.build();
    let Some(dir) = &args.out else {
        let asked = match &args.command {
            None => command,
            Some(sub) => page_of(&command, sub).ok_or_else(|| no_such(&command, sub))?,
        };
        return render(asked).map(|text| String::from_utf8_lossy(&text).into_owned());
    };
    create_dir(dir)?;
    let subs: Vec<String> = command.get_subcommands().map(|s| s.get_name().to_string()).collect();
    let pages = subs.iter().filter_map(|sub| page_of(&command, sub));
    let mut written = 0;
    for page in pages.chain([command.clone()]) {
        let path = dir.join(format!("{}.1", page.get_name()));
        write_bytes(&path, &render(page)?)?;
        written += 1;
    }
    Ok(format!("wrote {written} pages to {}\n", dir.display()))
}

/// A command's own page, which is named after both.
fn page_of(command: &Command, sub: &str) -> Option<Command> {
    let found = command.find_subcommand(sub)?.clone();
    let name = format!("{}-{}", command.get_name(), found.get_name());
    Some(found.name(&*name.leak()))
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

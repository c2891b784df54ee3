//! `completions` and `man`: the command line as shells and `man(1)` read it. Both come from the same description as
//! `--help`, so they cannot tell another story.

use super::{Cli, Failure, screen};
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell that will read them
    shell: Shell,
}

/// Prints what the shell has to read.
pub(super) fn completions(arguments: &Completions) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut shown(), "loka-stratum", &mut text);
    screen::say(&String::from_utf8_lossy(&text).trim_end())?;
    Ok(())
}

/// Prints one manual page with all commands, as roff.
pub(super) fn man() -> Result<(), Failure> {
    let (mut command, mut text) = (shown(), Vec::new());
    // An argument can be shown only then.
    command.build();
    let page = clap_mangen::Man::new(command.clone());
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_options_section(&mut text)?;
    text.extend_from_slice(b".SH COMMANDS\n");
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        section(command.get_name(), command, &mut text)?;
        for part in command.get_subcommands().filter(|part| part.get_name() != "help") {
            section(&format!("{} {}", command.get_name(), part.get_name()), part, &mut text)?;
        }
    }
    text.extend_from_slice(FILES.as_bytes());
    screen::say(&String::from_utf8_lossy(&text).trim_end())?;
    Ok(())
}

/// Commands for people: the parts that `bench` and `tune` run in processes of their own are nobody's business.
fn shown() -> Command {
    let all = Cli::command();
    let kept: Vec<Command> =
        all.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    let arguments: Vec<clap::Arg> = all.get_arguments().cloned().collect();
    let about = all.get_about().cloned().unwrap_or_default();
    let named = Command::new("loka-stratum").version(env!("CARGO_PKG_VERSION")).about(about);
    named.args(arguments).subcommands(kept)
}

/// clap adds these to every command by itself.
fn is_generated(argument: &clap::Arg) -> bool {
    ["help", "version"].contains(&argument.get_id().as_str())
}

fn section(name: &str, command: &Command, text: &mut Vec<u8>) -> std::io::Result<()> {
    use std::io::Write;
    writeln!(text, ".SS \"loka\\-stratum {name}\"")?;
    if let Some(about) = command.get_long_about().or_else(|| command.get_about()) {
        writeln!(text, "{}", escaped(&about.to_string()))?;
    }
    for argument in
        command.get_arguments().filter(|argument| !argument.is_global_set() && !is_generated(argument))
    {
        writeln!(text, ".TP\n\\fB{}\\fR\n{}", escaped(&argument.to_string()), escaped(&help(argument)))?;
    }
    Ok(())
}

fn help(argument: &clap::Arg) -> String {
    argument.get_help().map(ToString::to_string).unwrap_or_default()
}

/// A text that roff takes as it is: no line of it is a request.
fn escaped(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

const FILES: &str = r#".SH FILES
.TP
/etc/loka\-stratum/config.toml
The configuration, where neither \-\-config nor LOKA_CONFIG names another file. \fBloka\-stratum config reference\fR prints every key.
.SH ENVIRONMENT
LOKA_SECTION_KEY sets a key of the configuration, LOKA_CONFIG names the file, RUST_LOG what is logged, NOTIFY_SOCKET and WATCHDOG_USEC are those of systemd.
.SH SIGNALS
SIGTERM and SIGINT drain and end, a second one more than a second later ends at once. SIGUSR1 opens the log file anew. SIGHUP reads the configuration again. SIGUSR2 starts the program that stands in this one's place, and hands all miners to it.
.SH EXIT STATUS
0 ok, 1 failed, 2 wrong use, 78 bad configuration.
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_a_request_to_roff() {
        assert_eq!(escaped(".so /etc/passwd\n'x a-b \\n"), "\\&.so /etc/passwd\n\\&'x a\\-b \\en");
    }

    #[test]
    fn every_command_for_people_is_in_the_manual_and_no_other() {
        let names: Vec<String> =
            shown().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        for name in ["run", "check", "doctor", "bench", "tune", "records", "completions", "man"] {
            assert!(names.contains(&name.to_owned()), "{name}");
        }
        assert!(!names.contains(&"child".to_owned()));
    }
}

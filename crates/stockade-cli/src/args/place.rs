//! Which flags go with which place. A flag that the place can't honour is refused, and never ignored: whoever
//! asked for a limit must not run without it.

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Id, error::ErrorKind};

use super::{Cli, Command, ContainerArgs, DockerArgs, Executor, RunArgs};

/// What a container enforces, and nothing does on this machine.
const ENFORCED: &[&str] = &["lockdown"];

/// Reads the command line. Where it makes no sense the process ends, with a sentence and the status 2.
pub(crate) fn parse() -> Cli {
    let mut parser = Cli::command();
    let matches = parser.get_matches_mut();
    read(&mut parser, &matches).unwrap_or_else(|error| error.exit())
}

fn read(parser: &mut clap::Command, matches: &ArgMatches) -> Result<Cli, clap::Error> {
    let cli = Cli::from_arg_matches(matches)?;
    let Some((name, matches)) = matches.subcommand() else { return Ok(cli) };
    let Some(parser) = parser.find_subcommand_mut(name) else { return Ok(cli) };
    let flag = container_flag(parser, matches);
    let refused = match &cli.command {
        Command::Run(args) => refused(args, flag),
        Command::Languages(args) if !args.docker.is_asked_for() => flag.map(|flag| needs_docker(&flag)),
        _ => None,
    };
    refused.map_or(Ok(cli), |why| Err(parser.error(ErrorKind::ArgumentConflict, why)))
}

/// A flag for containers that was given, if any.
fn container_flag(parser: &clap::Command, matches: &ArgMatches) -> Option<String> {
    let groups = [DockerArgs::group_id(), ContainerArgs::group_id()].into_iter().flatten();
    // A command that does not have the group is no mistake of its user's.
    let given = |group: Id| matches.try_get_many::<Id>(group.as_str()).ok().flatten();
    let first = groups.filter_map(given).flatten().next()?;
    let flag = parser.get_arguments().find(|argument| argument.get_id() == first)?;
    flag.get_long().map(str::to_owned)
}

/// Why the flags of `run` don't go together; `flag` is one for containers.
fn refused(args: &RunArgs, flag: Option<String>) -> Option<String> {
    match (args.executor(), flag) {
        (Executor::Local, Some(flag)) if args.docker.is_asked_for() => {
            Some(format!("'--{flag}' and '--executor local' contradict each other: leave one of them out"))
        }
        (Executor::Local, Some(flag)) if ENFORCED.contains(&flag.as_str()) => Some(format!(
            "nothing enforces '--{flag}' for blocks that run on this machine: run them in a container (--docker), \
             or leave it out"
        )),
        (Executor::Local, Some(flag)) => Some(needs_docker(&flag)),
        (Executor::Docker, _) if args.venv.is_some() => Some(
            "'--venv' is for blocks that run on this machine: in a container, --init-command can install what they \
             need"
                .to_owned(),
        ),
        (Executor::Docker, _) => args
            .sandbox
            .flag()
            .map(|flag| format!("'--{flag}' is for blocks that run on this machine: leave it out")),
        (Executor::Local, None) if args.sandbox.no_sandbox => args.limits.flag().map(|flag| {
            format!("nothing enforces '--{flag}' without a sandbox: leave out --no-sandbox, or run in a container")
        }),
        (Executor::Local, None) => args.sandbox().err(),
    }
}

fn needs_docker(flag: &str) -> String {
    format!("'--{flag}' needs a container: add --docker")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(args: &[&str]) -> Result<Cli, clap::Error> {
        let mut parser = Cli::command();
        let matches = parser.try_get_matches_from_mut([&["stockade"], args].concat())?;
        read(&mut parser, &matches)
    }

    fn run(args: &[&str]) -> Result<Executor, String> {
        match tried(&[&["run", "a.md"], args].concat()).map(|cli| cli.command) {
            Ok(Command::Run(args)) => Ok(args.executor()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn docker_is_chosen_by_its_flag_by_an_image_and_by_its_name() {
        assert_eq!(run(&[]), Ok(Executor::Local));
        assert_eq!(run(&["--executor", "local"]), Ok(Executor::Local));
        for args in
            [&["--docker"][..], &["--image", "x"], &["--executor", "docker"], &["--docker", "--image", "x"]]
        {
            assert_eq!(run(args), Ok(Executor::Docker), "{args:?}");
        }
    }

    #[test]
    fn every_flag_of_a_container_is_refused_without_one_and_taken_with_one() {
        let mut parser = Cli::command();
        parser.build();
        let run_parser = parser.find_subcommand("run").expect("there is one");
        let group = ContainerArgs::group_id().expect("it is derived");
        let group = run_parser.get_groups().find(|found| *found.get_id() == group).expect("it is there");
        let mut count = 0;
        for id in group.get_args() {
            let flag = run_parser.get_arguments().find(|flag| flag.get_id() == id).expect("it is a flag");
            let name = flag.get_long().expect("every flag has a long name");
            let long = format!("--{name}");
            let value = match name {
                "pull" => "never",
                "workspace" => "copy",
                "add-host" => "a:b",
                "volume" => "a:/b",
                "ulimit" => "nofile=1",
                _ => "64",
            };
            let mut args = vec![long.as_str()];
            args.extend(flag.get_action().takes_values().then_some(value));
            args.extend((name == "bind-dir").then_some("--work-dir=."));
            let why = run(&args).expect_err(name);
            assert!(why.contains("--docker") && why.contains(&long), "{why}");
            args.push("--docker");
            assert_eq!(run(&args), Ok(Executor::Docker), "{args:?}");
            count += 1;
        }
        assert!(count > 20, "{count}");
    }

    #[test]
    fn what_is_for_this_machine_is_refused_in_a_container() {
        for args in [&["--venv", "x"][..], &["--no-sandbox"]] {
            assert_eq!(run(args), Ok(Executor::Local));
            assert!(run(&[args, &["--docker"]].concat()).is_err(), "{args:?}");
        }
    }

    #[test]
    fn languages_need_docker_for_a_daemon() {
        assert!(tried(&["languages", "--docker-host", "unix:///x"]).is_err());
        assert!(tried(&["languages", "--docker-host", "unix:///x", "--docker"]).is_ok());
    }
}

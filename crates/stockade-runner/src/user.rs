//! Whom blocks run as. Owns what `name`, `uid`, `name:group` and `uid:gid` mean by the user database of the place
//! where the runner runs, as `docker run --user` has it. Becoming that user is `os::process`'s part.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::OsStrExt,
};

use rustix::{
    process::geteuid,
    thread::{CapabilitySet, capabilities},
};

use crate::os::process::{self, Credentials};

/// The largest number of a user or a group that Docker takes. Above it lies the one that means "no change".
const LARGEST: u32 = i32::MAX as u32;

/// A user that blocks can be run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) credentials: Credentials,
    /// `None` for a number that the database doesn't know.
    pub(crate) name: Option<OsString>,
    pub(crate) home: OsString,
}

/// Why there is no such user, or why blocks can't be run as that one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    #[error("it has the form of none of name, uid, name:group and uid:gid")]
    Form,
    #[error("/etc/passwd has no user {0}")]
    NoUser(String),
    #[error("/etc/group has no group {0}")]
    NoGroup(String),
    #[error("{0} is larger than any user's or group's number can be, {LARGEST}")]
    TooLarge(String),
    #[error("failed to read {file}: {error}")]
    Unreadable { file: &'static str, error: io::Error },
    #[error("this process may not start processes as another user: {0}")]
    NotPermitted(io::Error),
    #[error("this process may not end processes of another user: it lacks the capability KILL")]
    NoKill,
}

impl User {
    /// The user that is meant by `asked`, if processes can be started as that one.
    pub(crate) fn find(asked: &str) -> Result<Self, UserError> {
        let user = parse(asked, &read("/etc/passwd")?, &read("/etc/group")?)?;
        if !user.is_ours() {
            process::try_credentials(&user.credentials).map_err(UserError::NotPermitted)?;
        }
        if geteuid().as_raw() != user.credentials.uid && !may_kill() {
            return Err(UserError::NoKill);
        }
        Ok(user)
    }

    /// Whether this process runs as that user already.
    pub(crate) fn is_ours(&self) -> bool {
        self.credentials.are_ours()
    }
}

fn may_kill() -> bool {
    capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::KILL))
}

/// A database that is not there is an empty one: numbers need none.
fn read(file: &'static str) -> Result<Vec<u8>, UserError> {
    match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|error| UserError::Unreadable { file, error }),
    }
}

/// What is meant by `asked` in a place with these databases.
fn parse(asked: &str, passwd: &[u8], group: &[u8]) -> Result<User, UserError> {
    let (user, asked_group) = match asked.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (asked, None),
    };
    let is_name = |name: &str| !name.is_empty() && !name.contains([':', '\n', '\0']);
    if !is_name(user) || asked_group.is_some_and(|group| !is_name(group)) {
        return Err(UserError::Form);
    }
    let number = number(user)?;
    let account = lines(passwd).filter_map(Account::parse).find(|account| account.is(user, number));
    let account = match (account, number) {
        (Some(account), _) => account,
        // As Docker has it: nobody knows this number, so it has root's group, and no home.
        (None, Some(uid)) => Account { name: None, uid, gid: 0, home: b"/" },
        (None, None) => return Err(UserError::NoUser(user.to_owned())),
    };
    let (gid, mut groups) = match asked_group {
        Some(asked) => (find_group(asked, group)?, Vec::new()),
        None => (account.gid, account.name.map(|name| groups_of(name, group)).unwrap_or_default()),
    };
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    Ok(User {
        credentials: Credentials { uid: account.uid, gid, groups },
        name: account.name.map(|name| OsStr::from_bytes(name).to_owned()),
        home: OsStr::from_bytes(if account.home.is_empty() { b"/" } else { account.home }).to_owned(),
    })
}

/// The number that is written there; `None` for a name.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let number = text.parse().ok().filter(|number| *number <= LARGEST);
    number.map(Some).ok_or_else(|| UserError::TooLarge(text.to_owned()))
}

/// A line of `/etc/passwd`.
struct Account<'a> {
    name: Option<&'a [u8]>,
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

impl<'a> Account<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
        let [name, _password, uid, gid, rest @ ..] = &fields[..] else { return None };
        let home = rest.get(1).copied().unwrap_or_default();
        Some(Self { name: Some(name), uid: id(uid)?, gid: id(gid)?, home })
    }

    fn is(&self, name: &str, number: Option<u32>) -> bool {
        self.name == Some(name.as_bytes()) || number == Some(self.uid)
    }
}

/// Name, number and members of a line of `/etc/group`.
fn parse_group(line: &[u8]) -> Option<(&[u8], u32, &[u8])> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
    let [name, _password, gid, rest @ ..] = &fields[..] else { return None };
    Some((name, id(gid)?, rest.first().copied().unwrap_or_default()))
}

fn find_group(asked: &str, group: &[u8]) -> Result<u32, UserError> {
    let number = number(asked)?;
    let known = lines(group).filter_map(parse_group);
    let mut known = known.filter(|(name, gid, _)| *name == asked.as_bytes() || number == Some(*gid));
    let found = known.next().map(|(_, gid, _)| gid).or(number);
    found.ok_or_else(|| UserError::NoGroup(asked.to_owned()))
}

fn groups_of(name: &[u8], group: &[u8]) -> Vec<u32> {
    let groups = lines(group).filter_map(parse_group);
    let has = |members: &[u8]| members.split(|&byte| byte == b',').any(|member| member == name);
    groups.filter(|(.., members)| has(members)).map(|(_, gid, _)| gid).collect()
}

fn id(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok().filter(|id| *id <= LARGEST)
}

fn lines(database: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = database.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# a comment\n\nnot a line\n\
        ada:x:1000:100:Ada:/home/ada:/bin/sh\n77:x:1001:101::/home/digits:\nbare:x:1002:102\nbad:x:-1:0::/:\n";
    const GROUP: &[u8] = b"root:x:0:\nusers:x:100:\ndocker:x:27:bob,ada\naudio:x:29:ada\nada:x:1000:\n";

    fn parsed(asked: &str) -> (u32, u32, Vec<u32>, Option<String>, String) {
        let user = parse(asked, PASSWD, GROUP).expect(asked);
        let Credentials { uid, gid, groups } = user.credentials;
        let text = |text: OsString| text.into_string().expect("the names here are text");
        (uid, gid, groups, user.name.map(text), text(user.home))
    }

    fn refused(asked: &str) -> String {
        parse(asked, PASSWD, GROUP).expect_err(asked).to_string()
    }

    #[test]
    fn a_known_user_has_his_groups_his_name_and_his_home() {
        let ada = (1000, 100, vec![27, 29, 100], Some("ada".to_owned()), "/home/ada".to_owned());
        assert_eq!(parsed("ada"), ada);
        assert_eq!(parsed("1000"), ada);
        assert_eq!(parsed("bare"), (1002, 102, vec![102], Some("bare".into()), "/".into()));
    }

    #[test]
    fn with_a_group_there_is_no_other() {
        let ada = |gid| (1000, gid, vec![gid], Some("ada".to_owned()), "/home/ada".to_owned());
        assert_eq!(parsed("ada:audio"), ada(29));
        assert_eq!(parsed("1000:29"), ada(29));
        assert_eq!(parsed("ada:4321"), ada(4321));
    }

    #[test]
    fn a_number_needs_no_database() {
        assert_eq!(parsed("4321"), (4321, 0, vec![0], None, "/".into()));
        let user = parse("4321:8765", b"", b"").expect("numbers");
        assert_eq!(user.credentials, Credentials { uid: 4321, gid: 8765, groups: vec![8765] });
    }

    #[test]
    fn a_name_of_digits_goes_before_the_number() {
        assert_eq!(parsed("77").0, 1001);
    }

    #[test]
    fn what_names_nobody_is_refused_with_a_reason() {
        assert_eq!(refused("eve"), "/etc/passwd has no user eve");
        assert_eq!(refused("-1"), "/etc/passwd has no user -1");
        assert_eq!(refused("ada:eve"), "/etc/group has no group eve");
        for odd in ["", ":", "ada:", ":users", "ada:users:more", "a\nb"] {
            assert_eq!(refused(odd), UserError::Form.to_string(), "{odd:?}");
        }
        // The kernel takes the largest of all as "leave it as it is", which would be root.
        for large in ["4294967295", "2147483648", "ada:4294967295", "99999999999999999999"] {
            assert!(refused(large).contains("is larger than any"), "{large}");
        }
    }

    proptest! {
        #[test]
        fn no_user_and_no_database_makes_it_panic_or_leaves_the_number_as_it_is(
            asked in "([a-z0-9:-]{0,8}|.{0,12})",
            passwd in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "([a-z0-9]{0,3}:){0,6}\n([a-z0-9:,#\n]{0,40})".prop_map(String::into_bytes)
            ],
            group in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(user) = parse(&asked, &passwd, &group) {
                let Credentials { uid, gid, groups } = user.credentials;
                prop_assert!(uid <= LARGEST && gid <= LARGEST && groups.contains(&gid));
                prop_assert!(groups.iter().all(|group| *group <= LARGEST));
            }
        }

        #[test]
        fn any_pair_of_numbers_is_itself(uid in 0..=LARGEST, gid in 0..=LARGEST) {
            let user = parse(&format!("{uid}:{gid}"), b"", b"").expect("numbers");
            prop_assert_eq!(user.credentials, Credentials { uid, gid, groups: vec![gid] });
        }
    }
}

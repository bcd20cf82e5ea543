//! Repositories in the workspace.

use crate::{
    places::Place,
    support::{output, sh},
};

work! {
    [namespaces landlock]
    a_repository_is_made_branched_merged_cloned_and_collected
}

const WORK: &str = r#"set -e
git config --global user.name Ada
git config --global user.email ada@example.org
git config --global init.defaultBranch main
git init -q project
cd project
echo one >file
git add .
git commit -qm First
git checkout -qb topic
mkdir folder && echo two >folder/other && chmod +x folder/other
git add -A && git commit -qm Second
git checkout -q main
echo three >third && git add third && git commit -qm Third
git merge -q --no-edit topic
git tag -a v1 -m Release
git log --format=%s --topo-order | sort | paste -sd,
git branch --list | paste -sd,
printf '#!/bin/sh\necho hook\n' >.git/hooks/pre-commit && chmod +x .git/hooks/pre-commit
echo more >>file
git diff --stat | tail -n 1
git stash -q && git stash pop -q
git commit -qam Fourth 2>&1
git worktree add -q ../tree topic && ls ../tree
git gc -q && git fsck 2>&1 | grep -v '^Checking\|^notice\|^dangling' || true
cd .. && git clone -q project copy && git -C copy rev-list --count HEAD
git -C copy describe
git init -q --bare bare.git && git -C copy push -q "$PWD/bare.git" HEAD:main && git --git-dir bare.git log --format=%an -1
"#;

async fn a_repository_is_made_branched_merged_cloned_and_collected(place: Place) {
    let expected = "First,Merge branch 'topic',Second,Third\n* main,  topic\n 1 file changed, 1 insertion(+)\nhook\nfile\n\
                    folder\n5\nv1-1-g";
    if !place.has("git", "git", &["--version"]) {
        return;
    }
    let printed = output(&place.start().await, sh(WORK)).await;
    assert!(printed.starts_with(expected) && printed.ends_with("\nAda\n"), "{printed}");
}

//! Races on names: while a block swaps a folder for a link that leads out, again and again, Stockade saves and takes
//! files by names in that folder. Beside it, files in a folder that stays one arrive.

use stockade::{CodeBlock, Session};

use crate::{
    honeypot::Honeypot,
    place::Place,
    support::{Running, patiently, python, run},
    user,
};

/// Often enough that both are met many times.
const ROUNDS: usize = 100;

/// Swaps `x` and the link `out` at once; `stays` is a folder that stays one.
fn swap(to: &str) -> CodeBlock {
    python(format!(
        "import ctypes, os\nos.mkdir('x'); os.mkdir('stays'); os.symlink({to:?}, 'out')\n\
         for folder in 'x', 'stays':\n    open(f'{{folder}}/secret', 'w').write('own')\n\
         libc = ctypes.CDLL(None, use_errno=True)\nprint('swapping', flush=True)\nwhile True:\n    \
         if libc.renameat2(-100, b'x', -100, b'out', 2): raise OSError(ctypes.get_errno())"
    ))
}

fn raced(place: Place, race: impl AsyncFn(&Session, usize)) {
    if !place.is_there() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(patiently("the end of the race", async {
        let honeypot = Honeypot::new();
        let session = place.start(honeypot.path("SHOWN_FOLDER"), honeypot.path("GRANTED")).await;
        let hidden = honeypot.path("HIDDEN").to_str().expect("it is text");
        let swapping = Running::until(session.call(vec![swap(hidden)]), "swapping").await;
        for round in 0..ROUNDS {
            race(&session, round).await;
        }
        drop(swapping);
        session.stop().await.expect("it stops");
        assert_eq!(honeypot.touched(), [""; 0]);
    }));
}

/// A race in each place, and for each user where that is another's.
macro_rules! races {
    ($($name:ident: $race:expr),+ $(,)?) => {
        $(mod $name {
            use super::{Place, raced, user};

            #[test]
            fn namespaces() {
                user::each(concat!("races::", stringify!($name), "::namespaces"), || raced(Place::Namespaces, $race));
            }

            #[test]
            fn landlock() {
                user::each(concat!("races::", stringify!($name), "::landlock"), || raced(Place::Landlock, $race));
            }

            #[test]
            fn docker() {
                raced(Place::Docker, $race);
            }
        })+
    };
}

races! {
    no_block_is_saved_outside: super::save,
    no_file_is_put_outside: super::put,
    no_file_outside_is_taken: super::take,
}

async fn save(session: &Session, round: usize) {
    let block =
        |folder: &str| CodeBlock::new("text", format!("# filename: {folder}/saved-{round}.txt\ntext"));
    let calm = run(session, &[block("stays")]).await;
    assert_eq!(calm.exit_code, 0, "{}", calm.output);
    // Saved in the folder, or refused.
    run(session, &[block("x")]).await;
}

async fn put(session: &Session, round: usize) {
    session.put_file(format!("stays/put-{round}"), "text").await.expect("it is put");
    let _ = session.put_file(format!("x/put-{round}"), "text").await;
    let _ = session.put_file("x/secret", "own").await;
}

async fn take(session: &Session, _: usize) {
    assert_eq!(session.get_file("stays/secret").await.expect("it is taken"), b"own");
    if let Ok(taken) = session.get_file("x/secret").await {
        assert_eq!(String::from_utf8_lossy(&taken), "own");
    }
}

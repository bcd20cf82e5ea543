//! Line 15: what is enforced is said, and where nothing was asked for nothing is refused.

use crate::{
    harness::{Place, start},
    support::{output, sh},
};

every_place!(a_session_says_what_it_is_and_enforces,);

async fn a_session_says_what_it_is_and_enforces(place: &dyn Place) {
    let session = start(place).await;
    let info = serde_json::to_value(session.info()).expect("it is JSON");
    assert!(info["executor"].as_str().is_some_and(|kind| !kind.is_empty()), "{info}");
    assert!(info["policy"].is_object(), "{info}");
    if place.offers().files_on_host {
        assert!(session.work_dir().is_absolute());
        assert_eq!(session.work_dir(), session.info().work_dir);
        output(&session, sh("touch here")).await;
        assert!(session.work_dir().join("here").exists());
    }
}

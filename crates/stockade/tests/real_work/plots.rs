//! Figures, which are the files that most blocks are run for.

use std::path::Path;

use crate::{
    places::Place,
    support::{need, python, run},
};

work! {
    [namespaces landlock]
    a_figure_is_drawn_and_comes_back_as_a_file
}

/// Debian's, whose packages have what is drawn with.
const PYTHON: &str = "/usr/bin/python3";

/// As written in tutorials: no backend is chosen, and a window is to be opened in the end.
const FIGURE: &str = "
import numpy as np
import matplotlib.pyplot as plt

x = np.linspace(0, 10, 500)
figure, axes = plt.subplots(figsize=(6, 4))
axes.plot(x, np.sin(x), label='sin')
axes.hist(np.random.default_rng(1).normal(5, 1, 1000), bins=30, density=True, alpha=0.5)
axes.set_title('Größe & $\\\\sqrt{x}$')
axes.legend()
plt.savefig('figure.png', dpi=100)
plt.show()
print(np.linalg.norm(np.ones((300, 300)) @ np.ones((300, 300))))
";

async fn a_figure_is_drawn_and_comes_back_as_a_file(place: Place) {
    if !need::has_program("matplotlib", PYTHON, &["-c", "import matplotlib"]) {
        return;
    }
    let builder = place.builder().env("PATH", "/usr/bin:/bin");
    let session = crate::places::start(builder).await;
    let result = run(&session, &[python(FIGURE)]).await;
    let outcome = &result.blocks[0];
    assert_eq!((outcome.exit_code, &*outcome.stdout.text()), (0, "90000.0\n"), "{}", result.output);
    let figure = outcome.files.iter().find(|file| file.path == Path::new("figure.png"));
    assert!(figure.is_some_and(|file| file.size > 1000), "{:?}", outcome.files);
    let content = session.get_file("figure.png").await.expect("it is there");
    assert!(content.starts_with(b"\x89PNG\r\n\x1a\n"), "it is a PNG");
}

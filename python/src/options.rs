//! What Python says, as the library's builders take it. Owns the names of the options and what their values can be; each
//! refusal names the option: a `TypeError` for what is of another type, an `InvalidOptionError` for the rest.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Display,
    future::{Future, poll_fn},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    pin::pin,
    str::FromStr,
    task::Poll,
    time::Duration,
};

use pyo3::{
    conversion::FromPyObjectOwned,
    exceptions::{PyOverflowError, PyTypeError, PyValueError},
    prelude::*,
    types::{PyDelta, PyDict, PyMapping, PyString},
};
use stockade::{
    BoxFuture, CodeBlock, CodeExecutor, DockerCommandLineCodeExecutor, DockerCommandLineCodeExecutorBuilder,
    Error, Functions, Language, LocalCommandLineCodeExecutor, ParseOptionError, Pool, PoolBuilder,
    PullProgress, Sandbox, SandboxNetwork, Session, WorkspaceMode,
};
use tokio::sync::mpsc;

use crate::{answers, errors, executor::CancellationToken};

/// Hands options that are given to the setters of their names.
macro_rules! set {
    ($builder:ident, $options:ident, { $($name:ident: $type:ty,)* }) => {
        $(if let Some(value) = $options.get::<$type>(stringify!($name))? {
            $builder = $builder.$name(value);
        })*
    };
}

/// Options by their names, and what they are options of.
pub(crate) struct Options<'py> {
    values: Bound<'py, PyDict>,
    /// Whether they are those of an option's value, whose refusal names that option.
    nested: bool,
}

impl<'py> Options<'py> {
    pub(crate) fn new(values: Bound<'py, PyDict>) -> Self {
        Self { values, nested: false }
    }

    /// An option's value; `None` where it is not given.
    pub(crate) fn get<T: Argument<'py>>(&self, name: &str) -> PyResult<Option<T>> {
        let Some(value) = self.values.get_item(name)?.filter(|value| !value.is_none()) else {
            return Ok(None);
        };
        extract(&value).map(Some).map_err(|error| self.refused(name, error))
    }

    /// The values of an option that takes several.
    pub(crate) fn list<T: Argument<'py>>(&self, name: &str) -> PyResult<Vec<T>> {
        let Some(values) = self.get::<Bound<'py, PyAny>>(name)? else { return Ok(Vec::new()) };
        if values.is_instance_of::<PyString>() {
            return Err(named(name, &"must be a list, not a single str"));
        }
        let values = values.try_iter().map_err(|_| self.refused(name, must_be("a list", &values)))?;
        let list = values.map(|value| extract_from("each", &value?)).collect::<PyResult<_>>();
        list.map_err(|error| self.refused(name, error))
    }

    /// The pairs of an option that is a dictionary.
    pub(crate) fn pairs<T: Argument<'py>>(&self, name: &str) -> PyResult<Vec<(T, T)>> {
        let Some(values) = self.get::<Bound<'py, PyAny>>(name)? else { return Ok(Vec::new()) };
        pairs(&values).map_err(|error| self.refused(name, error))
    }

    /// A value that is one of a few words.
    fn word<T: FromStr<Err: Display>>(&self, name: &str) -> PyResult<Option<T>> {
        let Some(word) = self.get::<String>(name)? else { return Ok(None) };
        word.parse().map(Some).map_err(|why: T::Err| self.invalid(name, &why.to_string()))
    }

    fn invalid(&self, name: &str, why: &str) -> PyErr {
        if self.nested {
            PyValueError::new_err(format!("{name} {why}"))
        } else {
            errors::invalid_option(self.values.py(), name, why)
        }
    }

    fn refused(&self, name: &str, error: PyErr) -> PyErr {
        let py = self.values.py();
        if error.is_instance_of::<PyTypeError>(py) {
            named(name, &error.value(py))
        } else if error.is_instance_of::<PyOverflowError>(py) {
            self.invalid(name, "must be a whole number that is not negative, and not too large")
        } else if error.get_type(py).is(py.get_type::<PyValueError>()) {
            self.invalid(name, &error.value(py).to_string())
        } else {
            error
        }
    }
}

/// A `TypeError` that says what it is about.
pub(crate) fn named(name: &str, why: &dyn Display) -> PyErr {
    PyTypeError::new_err(format!("{name}: {why}"))
}

/// The value of an argument, whose name a refusal tells.
pub(crate) fn argument<'py, T: Argument<'py>>(name: &str, value: &Bound<'py, PyAny>) -> PyResult<T> {
    let py = value.py();
    extract(value).map_err(|error| match error.is_instance_of::<PyTypeError>(py) {
        true => named(name, &error.value(py)),
        false => error,
    })
}

/// What a Python value can become.
pub(crate) trait Argument<'py>: FromPyObjectOwned<'py> {
    /// What it must be then; nothing where its own refusal says so.
    const MUST_BE: &'static str = "";
}

macro_rules! arguments {
    ($($kind:ty: $must_be:literal,)*) => {
        $(impl<'py> Argument<'py> for $kind {
            const MUST_BE: &'static str = $must_be;
        })*
    };
}

arguments! {
    bool: "a bool",
    f64: "a number",
    i64: "an int",
    u32: "an int",
    u64: "an int",
    usize: "an int",
    String: "a str",
    OsString: "a str",
    PathBuf: "a str or a Path",
    Vec<u8>: "bytes",
    Vec<String>: "a list of str",
    Py<CancellationToken>: "a stockade.CancellationToken",
    Seconds: "a number of seconds or a timedelta",
    Comment: "a str, or two in a tuple",
    HostPath: "a str or a Path",
    Bound<'py, PyAny>: "",
    Block: "",
    Callable: "",
    DeviceRequest: "",
    LanguageOption: "",
    SandboxOption: "",
    Ulimit: "",
    Volume: "",
}

fn extract<'py, T: Argument<'py>>(value: &Bound<'py, PyAny>) -> PyResult<T> {
    value.extract().map_err(Into::into).map_err(|error: PyErr| {
        let is_of_another_type = error.is_instance_of::<PyTypeError>(value.py());
        if is_of_another_type && !T::MUST_BE.is_empty() { must_be(T::MUST_BE, value) } else { error }
    })
}

/// One of several values.
fn extract_from<'py, T: Argument<'py>>(which: &str, value: &Bound<'py, PyAny>) -> PyResult<T> {
    let py = value.py();
    extract(value).map_err(|error| match error.is_instance_of::<PyTypeError>(py) {
        true => PyTypeError::new_err(format!("{which} {}", error.value(py))),
        false => error,
    })
}

fn must_be(what: &str, value: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("must be {what}, not {}", name_of_type(value)))
}

/// Without its module, as Python's own refusals have it.
fn name_of_type(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "that".to_owned(), |name| name.to_string())
}

/// What is in a dictionary, or in anything else that maps.
fn pairs<'py, T: Argument<'py>>(values: &Bound<'py, PyAny>) -> PyResult<Vec<(T, T)>> {
    let items = values.cast::<PyMapping>().map_err(|_| must_be("a dict", values))?.items()?;
    let pair = |item: Bound<'py, PyAny>| -> PyResult<(T, T)> {
        let part = |place| extract_from("each name and value", &item.get_item(place)?);
        Ok((part(0)?, part(1)?))
    };
    items.iter().map(pair).collect()
}

/// The path of a file or directory on this host.
pub(crate) struct HostPath(PathBuf);

impl FromPyObject<'_, '_> for HostPath {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let path: PathBuf = value.extract()?;
        if path.as_os_str().as_bytes().contains(&0) {
            return Err(PyValueError::new_err("has a NUL byte, which no path can have"));
        }
        if path.as_os_str().as_bytes().starts_with(b"~") {
            let shown = path.display();
            let why = format!(
                "begins with a `~`, which stands for nothing here: write os.path.expanduser({shown:?}), or ./{shown} for \
                 what is called so"
            );
            return Err(PyValueError::new_err(why));
        }
        Ok(Self(path))
    }
}

impl From<HostPath> for PathBuf {
    fn from(path: HostPath) -> Self {
        path.0
    }
}

/// A time: seconds, or a `timedelta`.
pub(crate) struct Seconds(pub(crate) Duration);

impl FromPyObject<'_, '_> for Seconds {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let seconds: f64 = match value.cast::<PyDelta>() {
            Ok(delta) => delta.call_method0("total_seconds")?.extract()?,
            Err(_) => value.extract()?,
        };
        if seconds.is_nan() || seconds < 0.0 {
            return Err(PyValueError::new_err(format!("must be a time, not {seconds} seconds")));
        }
        // What is longer than can be counted is refused by the builders, or for ever.
        Ok(Self(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(u64::MAX))))
    }
}

/// A code block: whatever has its code and its language.
pub(crate) struct Block(pub(crate) CodeBlock);

impl FromPyObject<'_, '_> for Block {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let attribute = |name: &str| {
            let attribute = value.getattr(name).map_err(|_| {
                let kind = name_of_type(&value);
                PyTypeError::new_err(format!("must have `code` and `language`, and {kind} has no `{name}`"))
            })?;
            let text = attribute.cast::<PyString>().map_err(|_| {
                let kind = name_of_type(&attribute);
                PyTypeError::new_err(format!("must have a `{name}` that is a str, not {kind}"))
            })?;
            Ok::<_, PyErr>(text.to_owned())
        };
        // Half a character, as models write, is for the interpreter to refuse: that is an outcome.
        let code = attribute("code")?.call_method1("encode", ("utf-8", "surrogatepass"))?;
        let language = attribute("language")?.to_string_lossy().into_owned();
        Ok(Self(CodeBlock::new(language, code.extract::<Vec<u8>>()?)))
    }
}

/// The attributes of an object of one of the classes of `stockade.options`.
fn attributes<'py>(value: Borrowed<'_, 'py, PyAny>, class: &str) -> PyResult<Bound<'py, PyDict>> {
    let expected = value.py().import("stockade.options")?.getattr(class)?;
    if !value.is_instance(&expected)? {
        return Err(must_be(&format!("a {class}"), &value));
    }
    Ok(value.call_method0("_asdict")?.cast_into()?)
}

/// An option's value that is an object of the package's, or text that stands for one.
macro_rules! from_object {
    ($name:ident, $class:literal, $options:ident => $made:expr) => {
        struct $name(stockade::$name);

        impl FromPyObject<'_, '_> for $name {
            type Error = PyErr;

            fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
                if let Ok(text) = value.cast::<PyString>() {
                    let parsed = text.to_cow()?.parse().map(Self);
                    return parsed.map_err(|why: ParseOptionError| PyValueError::new_err(why.to_string()));
                }
                let $options = Options { values: attributes(value, $class)?, nested: true };
                $made.map(Self)
            }
        }
    };
}

from_object!(Volume, "Volume", options => volume(&options));
from_object!(Ulimit, "Ulimit", options => ulimit(&options));
from_object!(DeviceRequest, "DeviceRequest", options => device_request(&options));

fn volume(options: &Options<'_>) -> PyResult<stockade::Volume> {
    let text = |name| Ok::<_, PyErr>(options.get::<PathBuf>(name)?.unwrap_or_default().display().to_string());
    let volume = stockade::Volume::new(text("source")?, text("target")?);
    Ok(if options.get("read_only")?.unwrap_or(false) { volume.read_only() } else { volume })
}

fn ulimit(options: &Options<'_>) -> PyResult<stockade::Ulimit> {
    let soft = options.get("soft")?.unwrap_or(-1);
    let hard = options.get("hard")?.unwrap_or(soft);
    Ok(stockade::Ulimit::new(options.get::<String>("name")?.unwrap_or_default(), soft, hard))
}

fn device_request(options: &Options<'_>) -> PyResult<stockade::DeviceRequest> {
    Ok(stockade::DeviceRequest {
        driver: options.get("driver")?,
        count: options.get("count")?,
        device_ids: options.list("device_ids")?,
        capabilities: options.list("capabilities")?,
        options: options.pairs("options")?.into_iter().collect::<BTreeMap<_, _>>(),
    })
}

struct LanguageOption(Language);

impl FromPyObject<'_, '_> for LanguageOption {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let options = Options { values: attributes(value, "Language")?, nested: true };
        let text = |name| Ok::<_, PyErr>(options.get::<String>(name)?.unwrap_or_default());
        let mut language = Language::new(text("name")?, text("extension")?);
        for alias in options.list::<String>("aliases")? {
            language = language.alias(alias);
        }
        for comment in options.list::<Comment>("comments")? {
            language = language.block_comment(comment.open, comment.close);
        }
        for mut command in options.list::<Vec<String>>("commands")? {
            if command.is_empty() {
                return Err(options.invalid("commands", "has a command without a program"));
            }
            let program = command.remove(0);
            language = language.command(program, command);
        }
        Ok(Self(language))
    }
}

/// How a comment begins, and ends where that is not the end of its line.
struct Comment {
    open: String,
    close: String,
}

impl FromPyObject<'_, '_> for Comment {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let (open, close) = match value.extract() {
            Ok(open) => (open, String::new()),
            Err(_) => value.extract()?,
        };
        Ok(Self { open, close })
    }
}

struct SandboxOption(Sandbox);

impl FromPyObject<'_, '_> for SandboxOption {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let options = Options { values: attributes(value, "Sandbox")?, nested: true };
        let is_strict = options.get("_strict")?.unwrap_or(false);
        let mut sandbox = if is_strict { Sandbox::strict() } else { Sandbox::default() };
        if options.get("best_effort")?.unwrap_or(false) {
            sandbox = sandbox.best_effort();
        }
        if let Some(level) = options.word("level")? {
            sandbox = sandbox.level(level);
        }
        sandbox = sandbox.network(match options.get::<String>("network")?.as_deref() {
            None | Some("none") => SandboxNetwork::None,
            Some("host") => SandboxNetwork::Host,
            Some(other) => {
                return Err(options.invalid("network", &format!("must be `none` or `host`, not `{other}`")));
            }
        });
        for HostPath(path) in options.list("read_only")? {
            sandbox = sandbox.read_only(path);
        }
        for HostPath(path) in options.list("read_write")? {
            sandbox = sandbox.read_write(path);
        }
        if let Some(Seconds(time)) = options.get("cpu_time")? {
            sandbox = sandbox.cpu_time(time);
        }
        set!(sandbox, options, {
            memory: u64, pids_limit: u32, cpus: f64, open_files: u64, file_size: u64, workspace_size: u64,
        });
        Ok(Self(sandbox))
    }
}

/// Hands over the options that executors share.
macro_rules! set_session_options {
    ($builder:ident, $options:ident) => {
        if let Some(Seconds(timeout)) = $options.get("timeout")? {
            $builder = $builder.timeout(timeout);
        }
        for (name, value) in $options.pairs::<OsString>("env")? {
            $builder = $builder.env(name, value);
        }
        if let Some(source) = $options.get::<String>("functions")? {
            let functions = Functions::new(source).packages($options.list::<String>("packages")?);
            let module = $options.get::<String>("functions_module")?;
            $builder = $builder.functions(functions.module(module.unwrap_or_default()));
        }
        for LanguageOption(language) in $options.list("languages")? {
            $builder = $builder.language(language);
        }
        $builder = $builder.preload($options.list::<String>("preload")?);
        set!($builder, $options, { output_limit: u64, keep_going: bool, merge_streams: bool, spares: u32, teardown: bool, });
    };
}

pub(crate) fn local(options: &Options<'_>) -> PyResult<LocalCommandLineCodeExecutor> {
    let mut builder = LocalCommandLineCodeExecutor::builder();
    set_session_options!(builder, options);
    set!(builder, options, { work_dir: HostPath, virtual_env: HostPath, cleanup_temp_files: bool, });
    builder = builder.inherit_env(options.list::<String>("inherit_env")?);
    builder = match options.get("sandbox")? {
        Some(SandboxOption(sandbox)) => builder.sandbox(sandbox),
        None => builder.no_sandbox(),
    };
    builder.build().map_err(|error| errors::to_python(options.values.py(), &error))
}

struct Callable(Py<PyAny>);

impl FromPyObject<'_, '_> for Callable {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if value.is_callable() {
            return Ok(Self(value.to_owned().unbind()));
        }
        Err(must_be("callable", &value))
    }
}

/// A container's template, but for who is told of pulls: that is another one at each start.
#[derive(Debug)]
pub(crate) struct Docker {
    builder: DockerCommandLineCodeExecutorBuilder,
    on_pull: Option<Py<PyAny>>,
}

pub(crate) fn docker(options: &Options<'_>) -> PyResult<Docker> {
    let mut builder = DockerCommandLineCodeExecutor::builder();
    set_session_options!(builder, options);
    set!(builder, options, {
        image: String, daemon: String, platform: String, container_name: String, auto_remove: bool,
        stop_container: bool, work_dir: HostPath, bind_dir: HostPath, delete_tmp_files: bool, init_command: String,
        user: String, memory: u64, cpus: f64, pids_limit: u32, shm_size: u64, network: String, runtime: String,
        read_only: bool, lockdown: bool,
    });
    if let Some(pull) = options.word("pull")? {
        builder = builder.pull(pull);
    }
    match options.get::<String>("workspace")?.as_deref() {
        None => {}
        Some("bind") => builder = builder.workspace(WorkspaceMode::Bind),
        Some("copy") => builder = builder.workspace(WorkspaceMode::Copy),
        Some(other) => {
            return Err(options.invalid("workspace", &format!("must be `bind` or `copy`, not `{other}`")));
        }
    }
    for (name, value) in options.pairs::<String>("labels")? {
        builder = builder.label(name, value);
    }
    for (name, address) in options.pairs::<String>("extra_hosts")? {
        builder = builder.extra_host(name, address);
    }
    for Volume(volume) in options.list("extra_volumes")? {
        builder = builder.volume(volume);
    }
    for DeviceRequest(request) in options.list("device_requests")? {
        builder = builder.device_request(request);
    }
    for Ulimit(ulimit) in options.list("ulimits")? {
        builder = builder.ulimit(ulimit);
    }
    for capability in options.list::<String>("cap_add")? {
        builder = builder.cap_add(capability);
    }
    for capability in options.list::<String>("cap_drop")? {
        builder = builder.cap_drop(capability);
    }
    for option in options.list::<String>("security_opt")? {
        builder = builder.security_opt(option);
    }
    let on_pull = options.get::<Callable>("on_pull")?.map(|Callable(callback)| callback);
    let checked = builder.clone().build();
    checked.map_err(|error| errors::to_python(options.values.py(), &error))?;
    Ok(Docker { builder, on_pull })
}

impl CodeExecutor for Docker {
    fn start(&self) -> BoxFuture<'_, stockade::Result<Session>> {
        let Some(callback) = &self.on_pull else {
            return Box::pin(async { self.builder.clone().build()?.start().await });
        };
        // The library's thread must not wait for the interpreter: whoever waits for the start tells Python.
        let (tell, mut progress) = mpsc::unbounded_channel();
        let builder = self.builder.clone().on_pull(move |progress| drop(tell.send(progress)));
        Box::pin(async move {
            let executor = builder.build()?;
            let mut start = pin!(executor.start());
            poll_fn(|context| {
                let started = start.as_mut().poll(context);
                while let Poll::Ready(Some(progress)) = progress.poll_recv(context) {
                    tell_of_pull(callback, progress);
                }
                started
            })
            .await
        })
    }

    fn check_for_pool(&self) -> stockade::Result<()> {
        if self.on_pull.is_some() {
            // Its threads may be there when the interpreter is not any more.
            let why =
                "can't be told by a pool, which starts sessions on threads of its own; pull the image before";
            return Err(Error::InvalidOption { option: "on_pull", why: why.to_owned() });
        }
        self.builder.clone().build()?.check_for_pool()
    }
}

/// A pool by its options.
pub(crate) fn pool(mut builder: PoolBuilder, options: &Options<'_>) -> PyResult<Pool> {
    set!(builder, options, { min_idle: usize, max_total: usize, });
    if let Some(Seconds(timeout)) = options.get("acquire_timeout")? {
        builder = builder.acquire_timeout(timeout);
    }
    if let Some(Seconds(time)) = options.get("max_idle_time")? {
        builder = builder.max_idle_time(time);
    }
    if let Some(Seconds(time)) = options.get("max_lifetime")? {
        builder = builder.max_lifetime(time);
    }
    builder.build().map_err(|error| errors::to_python(options.values.py(), &error))
}

fn tell_of_pull(callback: &Py<PyAny>, progress: PullProgress) {
    Python::attach(|py| {
        let told = answers::pull_progress(py, progress).and_then(|progress| callback.call1(py, (progress,)));
        if let Err(error) = told {
            error.write_unraisable(py, Some(callback.bind(py)));
        }
    });
}

//! `cargo xtask serve`: a small static server for `dist/`, for this machine only.
//!
//! It answers as a good host of the page should: right types, the page's policy as a
//! header, unchanging files kept for ever, the rest asked about each time. Paths that only
//! the app's router knows get the page; a missing file gets an error, never the page.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::page;
use crate::step::which;

/// First port that is tried when none is asked for.
const PORT: u16 = 8080;
/// How many ports after it are tried; beyond that something is wrong with the machine.
const PORTS: u16 = 100;

/// Directories of files only: nothing below them is a route of the app, even where names
/// have no extension.
const FILES_ONLY: &[&str] = &["image", "snippets", "vendor"];

struct Site {
    folder: PathBuf,
    /// The path that the page was built for, with slashes at both ends.
    base: String,
    policy: HeaderValue,
}

/// Serves `dist/` until Ctrl-C or SIGTERM.
pub(crate) fn serve(port: Option<u16>, open: bool) -> Result<()> {
    let folder = page::dist();
    let index = folder.join("index.html");
    if !index.exists() {
        bail!("there is no dist/index.html: `cargo xtask serve` without --built makes it");
    }
    let base = page::base(&index)?;
    let policy = HeaderValue::from_str(&page::policy(&index)?)?;
    let site = Arc::new(Site { folder, base: base.clone(), policy });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = bind(port).await?;
        let address = format!("http://{}{base}", listener.local_addr()?);
        println!("{address}");
        std::io::stdout().flush()?;
        if open {
            show(&address);
        }
        let app = Router::new().fallback(answer).with_state(site);
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = axum::serve(listener, app) => ended.context("the server ended"),
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }
    })
}

async fn bind(port: Option<u16>) -> Result<TcpListener> {
    let first = port.unwrap_or(PORT);
    let last = if port.is_some() { first } else { first + PORTS };
    for port in first..=last {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error).with_context(|| format!("listening on port {port}")),
        }
    }
    if port.is_some() {
        bail!("port {first} is in use; another one: --port N, or any free one: --port 0");
    }
    bail!("the ports {first} to {last} are all in use; a free one: --port 0")
}

/// Opens the browser where there is a way to; a server without a screen has none.
fn show(address: &str) {
    if which("xdg-open").is_some() {
        let quiet = || Stdio::null();
        Command::new("xdg-open")
            .arg(address)
            .stdin(quiet())
            .stdout(quiet())
            .stderr(quiet())
            .spawn()
            .ok();
    }
}

async fn answer(
    State(site): State<Arc<Site>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    // Reading files blocks; the page's are small, but a disk may sleep.
    let task = tokio::task::spawn_blocking(move || site.answer(&method, &uri, &headers));
    task.await.unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR, "The server failed.\n"))
}

impl Site {
    fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Body> {
        let mut response = self.find(method, uri, headers);
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        fields.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }

    fn find(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Body> {
        if method != Method::GET && method != Method::HEAD {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD.\n");
        }
        let Some(path) = decode(uri.path()) else {
            return plain(StatusCode::BAD_REQUEST, "This is no path.\n");
        };
        let Some(inside) = path.strip_prefix(&self.base) else {
            if path == "/" || format!("{path}/") == self.base {
                let mut response = plain(StatusCode::FOUND, "");
                let to =
                    HeaderValue::from_str(&self.base).expect("it came from a header-safe file");
                response.headers_mut().insert(header::LOCATION, to);
                return response;
            }
            return plain(StatusCode::NOT_FOUND, "The page is elsewhere.\n");
        };
        match self.resolve(inside) {
            Some(file) => {
                let versioned = uri.query().is_some_and(|query| {
                    query
                        .split('&')
                        .any(|part| part.strip_prefix("v=").is_some_and(|v| !v.is_empty()))
                });
                send(&file, versioned, headers)
            }
            None => plain(StatusCode::NOT_FOUND, "There is no such file.\n"),
        }
    }

    /// The file for a path below the base.
    fn resolve(&self, inside: &str) -> Option<PathBuf> {
        let segments: Vec<&str> = inside.split('/').filter(|segment| !segment.is_empty()).collect();
        // No way up and nothing hidden; a backslash or a NUL has no business in a name.
        let odd = |segment: &str| segment.starts_with('.') || segment.contains(['\\', '\0']);
        if segments.iter().any(|segment| odd(segment)) {
            return None;
        }
        let file = segments.iter().fold(self.folder.clone(), |path, segment| path.join(segment));
        if file.is_file() {
            return Some(file);
        }
        let route = match segments.as_slice() {
            [] => true,
            [first, ..] => {
                !FILES_ONLY.contains(first)
                    && !segments.last().is_some_and(|last| last.contains('.'))
            }
        };
        route.then(|| self.folder.join("index.html"))
    }
}

fn send(file: &Path, versioned: bool, headers: &HeaderMap) -> Response<Body> {
    let Ok(metadata) = fs::metadata(file) else {
        return plain(StatusCode::NOT_FOUND, "There is no such file.\n");
    };
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let tag = format!("\"{:x}-{:x}\"", metadata.len(), changed.unwrap_or_default().as_nanos());
    let is_page = file.extension().is_some_and(|extension| extension == "html");
    let unchanging = !is_page && (versioned || named_by_content(file));
    let cache = if unchanging { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let builder = Response::builder()
        .header(header::ETAG, &tag)
        .header(header::CACHE_CONTROL, cache)
        .header(header::CONTENT_TYPE, content_type(file));
    if known.is_some_and(|known| known.split(',').any(|one| one.trim() == tag)) {
        return builder
            .status(StatusCode::NOT_MODIFIED)
            .body(Body::empty())
            .expect("all parts are valid");
    }
    match fs::read(file) {
        Ok(bytes) => builder.body(Body::from(bytes)).expect("all parts are valid"),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "The file cannot be read.\n"),
    }
}

/// Whether a name ends in (or is) a hash of the content, as the guest image's files do.
fn named_by_content(file: &Path) -> bool {
    const SHORTEST: usize = 16;
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let last = name.rsplit('.').next().unwrap_or_default();
    last.len() >= SHORTEST && last.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn content_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("txt") => "text/plain; charset=utf-8",
        Some("json") => "application/json",
        Some("wasm") => "application/wasm",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/vnd.microsoft.icon",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(header::CACHE_CONTROL, "no-store")
        .body(Body::from(text))
        .expect("all parts are valid")
}

/// Undoes percent-encoding; `None` if what comes out is not UTF-8.
fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A site below target/, made anew by each run.
    fn site(name: &str, base: &str) -> Site {
        let folder = crate::step::root().join("target/xtask/test-serve").join(name);
        fs::create_dir_all(folder.join("dist/image/i386/disk")).unwrap();
        fs::write(folder.join("secret"), "secret").unwrap();
        let folder = folder.join("dist");
        fs::write(folder.join("index.html"), "page").unwrap();
        fs::write(folder.join("a.wasm"), "wasm").unwrap();
        fs::write(folder.join(".hidden"), "hidden").unwrap();
        fs::write(folder.join("image/i386/disk/0123456789abcdef"), "chunk").unwrap();
        Site { folder, base: base.into(), policy: HeaderValue::from_static("default-src 'none'") }
    }

    fn get(site: &Site, path: &str) -> Response<Body> {
        site.answer(&Method::GET, &path.parse().unwrap(), &HeaderMap::new())
    }

    fn field(response: &Response<Body>, name: header::HeaderName) -> &str {
        response.headers()[name].to_str().unwrap()
    }

    #[test]
    fn types_and_security_headers() {
        let response = get(&site("types", "/"), "/a.wasm");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(field(&response, header::CONTENT_TYPE), "application/wasm");
        assert_eq!(field(&response, header::CONTENT_SECURITY_POLICY), "default-src 'none'");
        assert_eq!(field(&response, header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(field(&response, header::REFERRER_POLICY), "no-referrer");
    }

    #[test]
    fn what_cannot_change_is_kept_and_the_rest_is_asked_about() {
        let site = site("cache", "/");
        let cache = |path| field(&get(&site, path), header::CACHE_CONTROL).to_owned();
        assert!(cache("/a.wasm?v=1f").contains("immutable"));
        assert!(cache("/image/i386/disk/0123456789abcdef").contains("immutable"));
        assert_eq!(cache("/a.wasm"), "no-cache");
        assert_eq!(cache("/a.wasm?v="), "no-cache");
        assert_eq!(cache("/settings?v=1f"), "no-cache");
    }

    #[test]
    fn a_known_tag_is_not_sent_again() {
        let site = site("tag", "/");
        let tag = get(&site, "/a.wasm").headers()[header::ETAG].clone();
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, tag);
        let again = site.answer(&Method::GET, &"/a.wasm".parse().unwrap(), &headers);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn routes_get_the_page_and_missing_files_an_error() {
        let site = site("routes", "/");
        let kind = |path| field(&get(&site, path), header::CONTENT_TYPE).to_owned();
        for route in ["/", "/settings", "/settings/"] {
            assert_eq!(get(&site, route).status(), StatusCode::OK, "{route}");
            assert!(kind(route).starts_with("text/html"), "{route}");
        }
        for missing in ["/b.wasm", "/image/i386/disk/fedcba9876543210", "/vendor/x", "/image"] {
            assert_eq!(get(&site, missing).status(), StatusCode::NOT_FOUND, "{missing}");
        }
    }

    #[test]
    fn nothing_outside_is_reached() {
        let site = site("outside", "/");
        for path in
            ["/../secret", "/%2e%2e/secret", "/a/..%2f..%2fsecret", "/..%5csecret", "/.hidden"]
        {
            assert_eq!(get(&site, path).status(), StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(get(&site, "/%ff").status(), StatusCode::BAD_REQUEST);
        let post = site.answer(&Method::POST, &"/a.wasm".parse().unwrap(), &HeaderMap::new());
        assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn a_page_for_a_sub_path_is_served_there() {
        let site = site("base", "/x/");
        assert_eq!(get(&site, "/x/a.wasm").status(), StatusCode::OK);
        assert_eq!(get(&site, "/x/settings").status(), StatusCode::OK);
        assert_eq!(field(&get(&site, "/"), header::LOCATION), "/x/");
        assert_eq!(field(&get(&site, "/x"), header::LOCATION), "/x/");
        assert_eq!(get(&site, "/a.wasm").status(), StatusCode::NOT_FOUND);
    }
}

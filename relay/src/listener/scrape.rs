//! What the relay tells about itself, and the listener for it that goes on while it drains.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{REFUSAL, REST, refuse};
use crate::Shared;
use crate::http::{self, Refusal, Wish};
use crate::shutdown::{Phase, Shutdown};

/// Connections to the metrics listener at once.
const SCRAPERS_MAX: usize = 16;

/// The answer to a question about the relay itself.
pub(super) fn state(wish: &Wish, shared: &Shared, shutdown: &Shutdown) -> String {
    let plain = "text/plain; charset=utf-8";
    match wish {
        Wish::Metrics => http::response(200, "text/plain; version=0.0.4", &shared.metrics.render()),
        Wish::Ready if shutdown.phase() != Phase::Running => {
            http::response(503, plain, "draining\n")
        }
        _ => http::response(200, plain, "ok\n"),
    }
}

/// Serves metrics and state, also while draining.
pub(super) async fn scrapes(listener: TcpListener, shared: Arc<Shared>, shutdown: Shutdown) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if open.len() < SCRAPERS_MAX => accepted,
            Some(_) = open.join_next() => continue,
        };
        match accepted {
            Ok((socket, from)) => {
                open.spawn(scrape(socket, from.ip(), shared.clone(), shutdown.clone()));
            }
            Err(_) => sleep(REST).await,
        }
    }
}

async fn scrape(mut socket: TcpStream, from: IpAddr, shared: Arc<Shared>, shutdown: Shutdown) {
    let Ok(Ok(head)) = timeout(REFUSAL, http::read_head(&mut socket)).await else { return };
    let response = match head.and_then(|head| http::wish(&head, &shared.door, from)) {
        Ok(Wish::Wisp(_)) => Refusal(404, "metrics only").response(),
        Ok(wish) => state(&wish, &shared, &shutdown),
        Err(refusal) => refusal.response(),
    };
    refuse(socket, &response).await;
}

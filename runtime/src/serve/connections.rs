//! Connections: taking them, as many as there may be, and ending.

use super::metrics::Held;
use super::{Limits, Service};
use crate::error::Error;
use crate::interrupt::{Signals, Wish};
use crate::log::tell;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

/// Connections at a time, most of which may be idle; further ones wait.
const MOST: usize = 512;
/// How long it takes to tell that no answer comes.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often signals are looked at.
const TICK: Duration = Duration::from_millis(100);

/// # Errors
/// Where the socket cannot be used.
pub(super) async fn serve(
    service: Arc<Service>,
    router: Router,
    listener: TcpListener,
    signals: &Signals,
) -> Result<(), Error> {
    let listener = tokio::net::TcpListener::from_std(listener);
    let listener = listener.map_err(Error::io("listen on", "the address".as_ref()))?;
    let (stop, _) = watch::channel(false);
    let room = Arc::new(Semaphore::new(MOST));
    loop {
        tokio::select! {
            taken = take(&listener, &room) => {
                let (stream, place) = taken;
                begin(&service, &router, stop.subscribe(), stream, place);
            }
            () = asked_to_stop(&service, signals) => break,
        }
    }
    drop(listener);
    service.stopping.store(true, Ordering::Relaxed);
    let Limits { places, grace, .. } = service.limits;
    let busy = places - service.places.available_permits();
    tell(&format!("stopping: {busy} requests are still answered"));
    let _ = stop.send(true);
    // Streams hold places when their connection has become something else.
    let all = async || {
        let _ = room.acquire_many(MOST as u32).await;
        let _ = service.places.acquire_many(places as u32).await;
    };
    if timeout(grace, all()).await.is_err() {
        tell("stopped before all requests were answered (--grace)");
        service.stopped.store(true, Ordering::Relaxed);
        service.ear.end();
        // Those that are given up are told so.
        let _ = timeout(FAREWELL, all()).await;
    }
    Ok(())
}

async fn asked_to_stop(service: &Service, signals: &Signals) {
    while !service.failed.load(Ordering::Relaxed) && !matches!(signals.take(), Some(Wish::End(_))) {
        sleep(TICK).await;
    }
}

async fn take(listener: &tokio::net::TcpListener, room: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let place = room.clone().acquire_owned().await.expect("it is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            // Out of file descriptors, or a client that has gone: others go on.
            Err(_) => sleep(TICK).await,
        }
    }
}

fn begin(
    service: &Arc<Service>,
    router: &Router,
    mut stop: watch::Receiver<bool>,
    stream: TcpStream,
    place: OwnedSemaphorePermit,
) {
    // Answers are small; the last of them is not to wait for more.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(service.limits.idle)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()))
        .with_upgrades();
    let service = service.clone();
    tokio::spawn(async move {
        let _open = Held::new(&service.metrics.connections);
        let mut connection = std::pin::pin!(connection);
        let asked = async {
            // Where nobody can ask any more, it is over too.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        // Clients come and go as they like: errors of connections are theirs.
        tokio::select! {
            _ = connection.as_mut() => {}
            () = asked => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
        drop(place);
    });
}

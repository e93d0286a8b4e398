//! The page at `/`: whole in itself, so that nothing is asked of other servers.

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse, Response};

const PAGE: &str = include_str!("page.html");

/// Scripts and styles are the page's own; it speaks to this server alone.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' blob:; worker-src blob:; \
                      connect-src 'self' ws: wss:; media-src blob:; img-src data:; frame-ancestors 'none'";

pub(super) async fn page() -> Response {
    let headers: [(HeaderName, &str); 3] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, PAGE).into_response()
}

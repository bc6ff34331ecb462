//! The HTTP client that everything which talks to a server uses: TLS, proxies, redirects, retries, limits.

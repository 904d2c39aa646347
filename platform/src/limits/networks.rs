//! Sets of networks, and whose word on a client's address counts.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::http::HeaderMap;
use ipnet::IpNet;

/// A set of networks: `127.0.0.0/8, ::1/128, 192.0.2.7`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// A text that names no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network; 192.0.2.0/24, 2001:db8::/32 or a single address would be right, several separated by commas")]
pub struct NotANetwork(String);

impl FromStr for Networks {
    type Err = NotANetwork;
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let network =
            |part: &str| part.parse().or_else(|_| part.parse::<IpAddr>().map(IpNet::from)).map_err(|_| NotANetwork(part.to_owned()));
        parts.map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl Networks {
    /// Whether an address is in one of them.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client's address, these being the proxies that are believed: the last address in `X-Forwarded-For` that is no such proxy's, when the connection
    /// is one's. Whatever stands before it the client may have written itself.
    #[must_use]
    pub fn client(&self, connection: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = connection.to_canonical();
        let values = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let named: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
        for name in named.into_iter().rev() {
            if !self.contain(client) {
                break;
            }
            let Some(address) = address(name) else { break };
            client = address.to_canonical();
        }
        client
    }
}

/// An address as proxies write it: some add the port, and brackets around IPv6.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::Networks;
    use axum::http::{HeaderMap, HeaderValue};

    #[test]
    fn only_a_proxy_that_is_believed_can_say_where_a_client_is() {
        let proxies: Networks = "10.0.0.0/8, 2001:db8::1".parse().unwrap();
        for (connection, forwarded, client) in [
            ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
            ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "1.2.3.4, 198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "198.51.100.1, 10.1.1.1", "198.51.100.1"),
            ("10.0.0.1", "10.1.1.1", "10.1.1.1"),
            ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("2001:db8::1", "[2001:db8:5::7]:443", "2001:db8:5::7"),
            ("::ffff:10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", HeaderValue::from_static(forwarded));
            let found = proxies.client(connection.parse().unwrap(), &headers);
            assert_eq!(found.to_string(), client, "{connection} for {forwarded}");
        }
    }

    #[test]
    fn what_is_no_network_is_told() {
        assert_eq!("".parse(), Ok(Networks::default()));
        let odd = "10.0.0.0/8, 10.0.0.0/33".parse::<Networks>().unwrap_err();
        assert!(odd.to_string().contains("10.0.0.0/33"), "{odd}");
    }
}

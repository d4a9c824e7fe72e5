//! A server with TLS, QUIC and HTTPS, and a client of TLS that sends and reads messages octet by octet.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Endpoint, TransportConfig};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use super::SOON;
use super::ports::free_address;
use super::programs::Certificates;

/// The name that certificates are for.
pub const NAME: &str = "ns1.example.org";

/// Where one server listens encrypted, and its certificates.
pub struct Encrypted {
    pub certificates: Certificates,
    pub tls: SocketAddr,
    pub quic: SocketAddr,
    pub https: SocketAddr,
}

impl Encrypted {
    /// Free places on loopback.
    pub fn make() -> Self {
        let free = || free_address([127, 0, 0, 1]);
        Self { certificates: Certificates::for_name(NAME), tls: free(), quic: free(), https: free() }
    }

    /// What `[server]` says of it.
    pub fn config(&self) -> String {
        let [certificate, key] = ["valid.pem", "valid.key"].map(|file| self.certificates.path(file));
        let Self { tls, quic, https, .. } = self;
        format!(
            "tls = {{ certificate = \"{certificate}\", key = \"{key}\", listen = [\"{tls}\"], quic = [\"{quic}\"], \
             https = [\"{https}\"] }}"
        )
    }

    /// What dig and kdig are told to verify.
    pub fn trust(&self) -> [String; 2] {
        [format!("+tls-ca={}", self.certificates.path("ca.pem")), format!("+tls-hostname={NAME}")]
    }

    /// What a client trusts.
    pub fn client_config(&self, version: &'static SupportedProtocolVersion, protocols: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.certificates.path("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        config
    }

    /// A connection, whose handshake is yet to be made.
    pub fn connection(&self, version: &'static SupportedProtocolVersion, protocols: &[&str]) -> ClientConnection {
        let name = ServerName::try_from(NAME).unwrap();
        ClientConnection::new(Arc::new(self.client_config(version, protocols)), name).unwrap()
    }

    /// A client of TLS 1.3 as RFC 9103 has it.
    pub fn connect(&self) -> Client {
        self.connect_by(&rustls::version::TLS13, &["dot"])
    }

    /// A client of that version, which offers these protocols.
    pub fn connect_by(&self, version: &'static SupportedProtocolVersion, protocols: &[&str]) -> Client {
        let tcp = TcpStream::connect(self.tls).unwrap();
        tcp.set_read_timeout(Some(SOON)).unwrap();
        Client(StreamOwned::new(self.connection(version, protocols), tcp))
    }

    /// A connection over QUIC, whose client takes so many octets on a stream before they are read.
    pub async fn quic(&self, window: u32) -> (Endpoint, quinn::Connection) {
        let tls = self.client_config(&rustls::version::TLS13, &["doq"]);
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let mut transport = TransportConfig::default();
        transport.stream_receive_window(window.into());
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
        let connection = endpoint.connect_with(config, self.quic, NAME).unwrap().await.unwrap();
        (endpoint, connection)
    }
}

/// A connection that messages come and go on.
pub struct Client(pub StreamOwned<ClientConnection, TcpStream>);

impl Client {
    /// Sends messages, each behind its length, in one write.
    pub fn send(&mut self, messages: &[Vec<u8>]) {
        let framed = messages.iter().map(|m| [&(m.len() as u16).to_be_bytes()[..], m].concat());
        self.0.write_all(&framed.collect::<Vec<_>>().concat()).unwrap();
        self.0.flush().unwrap();
    }

    /// Reads one message.
    #[track_caller]
    pub fn read(&mut self) -> Vec<u8> {
        let mut length = [0; 2];
        self.0.read_exact(&mut length).unwrap();
        let mut message = vec![0; u16::from_be_bytes(length) as usize];
        self.0.read_exact(&mut message).unwrap();
        message
    }
}

/// A message with one question in class IN.
pub fn message(id: u16, opcode: u8, name: &str, qtype: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([opcode << 3, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend(qtype.to_be_bytes());
    message.extend([0, 1]);
    message
}

//! Private keys: their form, and whether they belong to a certificate.

use gateway_agent_tables::{KeyForm, PrivateKey};
use x509_parser::der_parser::ber::{BerObject, BerObjectContent, parse_ber_bitstring};
use x509_parser::der_parser::parse_der;
use x509_parser::pem::Pem;
use x509_parser::x509::SubjectPublicKeyInfo;

/// The first private key of a PEM text (RFC 7468). None: there is none.
pub(super) fn read(pem: &[u8]) -> Option<PrivateKey> {
    Pem::iter_from_buffer(pem).map_while(Result::ok).find_map(|block| {
        let form = match block.label.as_str() {
            "PRIVATE KEY" => KeyForm::Pkcs8,
            "RSA PRIVATE KEY" => KeyForm::Pkcs1,
            "EC PRIVATE KEY" => KeyForm::Sec1,
            _ => return None,
        };
        // What is no DER is no key.
        parse_der(&block.contents).ok()?;
        Some(PrivateKey { form, der: block.contents.into() })
    })
}

/// Whether the key is that of the certificate with this public key; None: the key doesn't say, as those of Ed25519,
/// which hold a secret only.
pub(super) fn belongs(key: &PrivateKey, certificate: &SubjectPublicKeyInfo<'_>) -> Option<bool> {
    let public = &certificate.subject_public_key.data[..];
    match key.form {
        KeyForm::Pkcs1 => rsa(&key.der, public),
        KeyForm::Sec1 => ec(&key.der, public),
        KeyForm::Pkcs8 => {
            // RFC 5958: version, algorithm, key.
            let (_, object) = parse_der(&key.der).ok()?;
            let fields = object.as_sequence().ok()?;
            let algorithm = fields.get(1)?.as_sequence().ok()?.first()?.as_oid().ok()?;
            let inner = fields.get(2)?.as_slice().ok()?;
            if *algorithm != certificate.algorithm.algorithm {
                return Some(false);
            }
            match algorithm.to_id_string().as_str() {
                // rsaEncryption, RFC 8017.
                "1.2.840.113549.1.1.1" => rsa(inner, public),
                // id-ecPublicKey, RFC 5480.
                "1.2.840.10045.2.1" => ec(inner, public),
                _ => None,
            }
        }
    }
}

/// RFC 8017, A.1: a private key repeats the public one's modulus and exponent.
fn rsa(private: &[u8], public: &[u8]) -> Option<bool> {
    let (_, private) = parse_der(private).ok()?;
    let private = private.as_sequence().ok()?;
    let Ok((_, public)) = parse_der(public) else { return Some(false) };
    let Ok(public) = public.as_sequence() else { return Some(false) };
    let number = |fields: &[BerObject<'_>], index: usize| -> Option<Vec<u8>> {
        Some(fields.get(index)?.as_slice().ok()?.to_vec())
    };
    Some(number(private, 1)? == number(public, 0)? && number(private, 2)? == number(public, 1)?)
}

/// RFC 5915: a private key may hold the public one under tag 1.
fn ec(private: &[u8], public: &[u8]) -> Option<bool> {
    let (_, private) = parse_der(private).ok()?;
    let held = private.as_sequence().ok()?.iter().find(|field| field.header.tag().0 == 1)?;
    let BerObjectContent::Unknown(any) = &held.content else { return None };
    let (_, bits) = parse_ber_bitstring(any.data).ok()?;
    Some(bits.as_bitstring_ref().ok()?.data == public)
}

//! How payloads are written and read. A job type has one codec for writing; reading goes by the header of the job, so
//! that a type can change its codec while jobs of both are under way.

use std::{collections::BTreeMap, error::Error as StdError, fmt};

use serde::{Serialize, de::DeserializeOwned};

type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// The header that names the codec of a payload. Without it a payload is JSON.
pub const CODEC_HEADER: &str = "windlass-codec";

/// A format of payloads.
///
/// ```
/// # use serde::{Serialize, de::DeserializeOwned};
/// use windlass::codec::{Codec, Coding};
/// /// JSON, for people.
/// struct Pretty;
/// impl Codec for Pretty {
///     const NAME: &'static str = "pretty";
///     fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, windlass::BoxError> {
///         Ok(serde_json::to_vec_pretty(value)?)
///     }
///     fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, windlass::BoxError> {
///         Ok(serde_json::from_slice(payload)?)
///     }
/// }
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Note { text: String }
/// impl windlass::Job for Note {
///     const KIND: &'static str = "note";
///     fn coding() -> Coding<Self> {
///         Coding::of::<Pretty>() // with the derive: #[job(kind = "note", codec = Pretty)]
///     }
/// }
/// ```
pub trait Codec: 'static {
    /// Its name, as it stands in the header of every job that was written with it. Never change it.
    const NAME: &'static str;

    /// Writes a payload.
    ///
    /// # Errors
    /// When the value has no form in this format.
    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, BoxError>;

    /// Reads a payload. The text of an error is kept with the job and shown: quote nothing of the payload in it.
    ///
    /// # Errors
    /// When the payload is something else.
    fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, BoxError>;
}

/// JSON, the default. Written without a header.
#[derive(Clone, Copy, Debug)]
pub struct Json;

impl Codec for Json {
    const NAME: &'static str = "json";

    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, BoxError> {
        Ok(serde_json::to_vec(value)?)
    }

    fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, BoxError> {
        Ok(serde_json::from_slice(payload)?)
    }
}

/// MessagePack with named fields, so that fields may be added: small, and fast for bytes (`serde_bytes`) and numbers.
#[cfg(feature = "msgpack")]
#[derive(Clone, Copy, Debug)]
pub struct MsgPack;

#[cfg(feature = "msgpack")]
impl Codec for MsgPack {
    const NAME: &'static str = "msgpack";

    fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, BoxError> {
        Ok(rmp_serde::to_vec_named(value)?)
    }

    fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, BoxError> {
        let mut rest = payload;
        let value = T::deserialize(&mut rmp_serde::Deserializer::new(&mut rest))?;
        match rest.len() {
            0 => Ok(value),
            left => Err(format!("{left} bytes follow the end of the payload").into()),
        }
    }
}

/// How the payloads of `J` are written, and read again; see [`Job::coding`](crate::Job::coding).
pub struct Coding<J> {
    name: &'static str,
    encode: fn(&J) -> Result<Vec<u8>, BoxError>,
    decode: fn(&[u8]) -> Result<J, BoxError>,
}

impl<J> Clone for Coding<J> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<J> Copy for Coding<J> {}

impl<J> fmt::Debug for Coding<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Coding").field(&self.name).finish()
    }
}

impl<J: Serialize + DeserializeOwned> Coding<J> {
    /// With this codec.
    pub fn of<C: Codec>() -> Self {
        Self { name: C::NAME, encode: C::encode::<J>, decode: C::decode::<J> }
    }

    /// The codec's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Writes a payload.
    ///
    /// # Errors
    /// When the job has no form in this format.
    pub fn write(&self, job: &J) -> Result<Vec<u8>, BoxError> {
        (self.encode)(job)
    }

    /// What stands in [`CODEC_HEADER`] of a job that was written so; none for JSON.
    pub fn header(&self) -> Option<&'static str> {
        (self.name != Json::NAME).then_some(self.name)
    }

    /// Reads a payload, whichever codec its headers name: this one, JSON, or another one of the library.
    ///
    /// # Errors
    /// When the codec is not known here, or the payload is something else.
    pub fn read(&self, headers: &BTreeMap<String, String>, payload: &[u8]) -> Result<J, BoxError> {
        match headers.get(CODEC_HEADER).map_or(Json::NAME, String::as_str) {
            name if name == self.name => (self.decode)(payload),
            Json::NAME => Json::decode(payload),
            #[cfg(feature = "msgpack")]
            MsgPack::NAME => MsgPack::decode(payload),
            other => Err(unknown(other, self.name).into()),
        }
    }
}

fn unknown(found: &str, own: &str) -> String {
    let found: String = found.chars().take(64).collect();
    let hint = if found == "msgpack" { "; enable the feature `msgpack`" } else { "" };
    format!("the payload was written with the codec `{found}`, and this program reads json and {own}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Form {
        number: u32,
        #[serde(default)]
        text: String,
    }

    fn form() -> Form {
        Form { number: 7, text: "seven".into() }
    }

    fn headers(codec: Option<&str>) -> BTreeMap<String, String> {
        codec.map(|codec| (CODEC_HEADER.to_owned(), codec.to_owned())).into_iter().collect()
    }

    #[test]
    fn json_needs_no_header_and_may_have_one() {
        let coding = Coding::<Form>::of::<Json>();
        let payload = coding.write(&form()).unwrap();
        assert_eq!((coding.header(), &*payload), (None, &br#"{"number":7,"text":"seven"}"#[..]));
        for codec in [None, Some("json")] {
            assert_eq!(coding.read(&headers(codec), &payload).unwrap(), form());
        }
    }

    #[test]
    fn a_codec_that_is_not_known_is_named() {
        let error = Coding::<Form>::of::<Json>().read(&headers(Some("yaml")), b"number: 7").unwrap_err();
        assert!(error.to_string().contains("codec `yaml`"), "{error}");
    }

    #[cfg(feature = "msgpack")]
    #[test]
    fn a_type_may_change_its_codec_while_jobs_of_both_are_under_way() {
        let (old, new) = (Coding::<Form>::of::<Json>(), Coding::<Form>::of::<MsgPack>());
        assert_eq!(new.header(), Some("msgpack"));
        let (before, after) = (old.write(&form()).unwrap(), new.write(&form()).unwrap());
        assert!(after.len() < before.len());
        for coding in [old, new] {
            assert_eq!(coding.read(&headers(None), &before).unwrap(), form());
            assert_eq!(coding.read(&headers(Some("msgpack")), &after).unwrap(), form());
        }
    }

    #[cfg(feature = "msgpack")]
    #[test]
    fn messagepack_may_leave_out_and_add_fields_but_not_be_cut_or_lengthened() {
        #[derive(Serialize)]
        struct Newer {
            number: u32,
            added: bool,
        }
        let coding = Coding::<Form>::of::<MsgPack>();
        let newer = MsgPack::encode(&Newer { number: 7, added: true }).unwrap();
        assert_eq!(coding.read(&headers(Some("msgpack")), &newer).unwrap().number, 7);
        let mut payload = coding.write(&form()).unwrap();
        for cut in 0..payload.len() {
            assert!((coding.decode)(&payload[..cut]).is_err(), "cut at {cut}");
        }
        payload.push(0);
        assert!((coding.decode)(&payload).unwrap_err().to_string().contains("1 bytes follow"));
    }
}

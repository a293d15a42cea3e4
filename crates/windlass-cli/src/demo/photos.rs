//! Where pictures come from: the photographs in the binary (`photo:cat.jpg`) and files. Never the network.
//! assets/photos/SOURCES.md says who took them and under which terms.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use windlass::ResultExt;

use super::refused;
use crate::exit::Failure;

/// The built-in photographs by name.
pub(super) const PHOTOS: [(&str, &[u8]); 5] = [
    ("astronaut.jpg", include_bytes!("../../assets/photos/astronaut.jpg")),
    ("cat.jpg", include_bytes!("../../assets/photos/cat.jpg")),
    ("coffee.jpg", include_bytes!("../../assets/photos/coffee.jpg")),
    ("hubble.jpg", include_bytes!("../../assets/photos/hubble.jpg")),
    ("rocket.jpg", include_bytes!("../../assets/photos/rocket.jpg")),
];

/// A larger file is no picture that a demo should load.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The addresses of the built-in photographs.
pub(super) fn built_in() -> Vec<String> {
    PHOTOS.iter().map(|(name, _)| format!("photo:{name}")).collect()
}

/// The last part of a picture's address, without its extension and with nothing a file name may not hold.
pub(super) fn stem(url: &str) -> String {
    let name = url.strip_prefix("photo:").unwrap_or(url);
    let stem = Path::new(name).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let safe = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let clean: String = stem.chars().map(safe).take(60).collect();
    if clean.is_empty() { "picture".into() } else { clean }
}

/// The bytes behind an address. What can never work is marked to be buried; a file that cannot be read now is not.
pub(super) fn load(url: &str) -> anyhow::Result<Vec<u8>> {
    if let Some(name) = url.strip_prefix("photo:") {
        let found = PHOTOS.iter().find(|(photo, _)| *photo == name);
        let names: Vec<_> = PHOTOS.iter().map(|(photo, _)| *photo).collect();
        let photo = found.ok_or_else(|| format!("no photo is called `{name}`; there are {}", names.join(", ")));
        return Ok(photo.or_bury()?.1.to_vec());
    }
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if let Some(scheme) = scheme.filter(|scheme| scheme != "file") {
        let why =
            format!("{scheme} addresses are refused: the demo does not reach the network; give a file or photo:NAME");
        return Err(why).or_bury().map_err(Into::into);
    }
    let path = Path::new(url.strip_prefix("file://").unwrap_or(url));
    let shown = || format!("reading {}", path.display());
    let meta = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error).or_bury().with_context(shown)?,
        other => other.with_context(shown)?,
    };
    if !meta.is_file() || meta.len() > MAX_FILE_BYTES {
        return Err(format!("{} is no file of at most 64 MiB", path.display())).or_bury().map_err(Into::into);
    }
    fs::read(path).with_context(shown)
}

/// The JPEG and PNG files of a folder, by name.
pub(super) fn in_folder(folder: &Path) -> Result<Vec<String>, Failure> {
    let help = "give --images a folder with .jpg, .jpeg or .png files, or leave it out for the built-in photographs";
    let refuse = |why: String| refused(format!("--images {}: {why}", folder.display()), help);
    let entries = fs::read_dir(folder).map_err(|error| refuse(error.to_string()))?;
    let mut pictures: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| refuse(error.to_string()))?.path();
        let extension = path.extension().map(|ext| ext.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        if matches!(&*extension, "jpg" | "jpeg" | "png") && path.is_file() {
            pictures.push(path);
        }
    }
    if pictures.is_empty() {
        return Err(refuse("there is no JPEG or PNG picture in it".into()));
    }
    pictures.sort();
    let text = |path: PathBuf| path.into_os_string().into_string();
    let names = pictures.into_iter().map(text).collect::<Result<Vec<_>, _>>();
    names.map_err(|name| refuse(format!("the name of {} is no text", Path::new(&name).display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn addresses_of_the_network_are_refused_with_a_reason() {
        let error = load("https://example.com/cat.jpg").unwrap_err();
        assert!(error.to_string().contains("does not reach the network"), "{error}");
    }

    #[test]
    fn a_wrong_photo_name_lists_the_right_ones() {
        assert!(load("photo:dog.jpg").unwrap_err().to_string().contains("cat.jpg"));
        assert!(load("photo:cat.jpg").unwrap().starts_with(&[0xff, 0xd8]));
    }

    #[test]
    fn stems_are_safe_file_names() {
        assert_eq!(stem("photo:cat.jpg"), "cat");
        assert_eq!(stem("/tmp/My Dog: 1.png"), "My_Dog__1");
        assert_eq!(stem(""), "picture");
    }

    #[test]
    fn a_folder_gives_its_pictures_in_order_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(in_folder(folder.path()).unwrap_err().exit, Exit::Usage);
        for name in ["b.PNG", "a.jpg", "notes.txt"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let names = in_folder(folder.path()).unwrap();
        assert!(names.len() == 2 && names[0].ends_with("a.jpg") && names[1].ends_with("b.PNG"));
    }
}

package dev.forkd.template;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.GZIPOutputStream;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveOutputStream;
import org.apache.commons.compress.archivers.tar.TarConstants;

/** Writes OCI layouts with layers of any content, honest or not. */
final class OciFixture {
  private final Path folder;
  private final List<String> layers = new ArrayList<>();
  private String config = "{}";

  OciFixture(Path folder) {
    this.folder = folder;
  }

  /** Collects the entries of one layer. */
  static final class Layer {
    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    private final TarArchiveOutputStream out = new TarArchiveOutputStream(bytes, "UTF-8");

    Layer() {
      out.setLongFileMode(TarArchiveOutputStream.LONGFILE_POSIX);
    }

    Layer file(String name, String content) {
      return put(name, TarConstants.LF_NORMAL, 0644, "", content);
    }

    Layer folder(String name, int mode) {
      return put(name + "/", TarConstants.LF_DIR, mode, "", "");
    }

    Layer symlink(String name, String target) {
      return put(name, TarConstants.LF_SYMLINK, 0777, target, "");
    }

    Layer hardLink(String name, String target) {
      return put(name, TarConstants.LF_LINK, 0644, target, "");
    }

    /** A program of root's with one extended attribute, by the record that is written for it. */
    Layer program(String name, String attribute, byte[] value) {
      byte[] record =
          join((" SCHILY.xattr." + attribute + "=").getBytes(StandardCharsets.UTF_8), value);
      String length = String.valueOf(record.length + 1 + 2);
      if (length.length() != 2) {
        throw new IllegalArgumentException("only records of two digits are written here");
      }
      byte[] whole = join(length.getBytes(StandardCharsets.US_ASCII), record);
      return records(join(whole, new byte[] {'\n'}))
          .put(name, TarConstants.LF_NORMAL, 0755, "", "program");
    }

    Layer records(String text) {
      return records(text.getBytes(StandardCharsets.UTF_8));
    }

    /** PAX records for the entry that follows, as they are. */
    private Layer records(byte[] records) {
      TarArchiveEntry entry =
          new TarArchiveEntry("PaxHeaders/x", TarConstants.LF_PAX_EXTENDED_HEADER_LC);
      entry.setSize(records.length);
      try {
        out.putArchiveEntry(entry);
        out.write(records);
        out.closeArchiveEntry();
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
      return this;
    }

    private static byte[] join(byte[] first, byte[] second) {
      byte[] both = java.util.Arrays.copyOf(first, first.length + second.length);
      System.arraycopy(second, 0, both, first.length, second.length);
      return both;
    }

    Layer put(String name, byte type, int mode, String target, String content) {
      byte[] data = content.getBytes(StandardCharsets.UTF_8);
      // Names are kept as they are, also those that begin with a slash.
      TarArchiveEntry entry = new TarArchiveEntry(name, type, true);
      entry.setMode(mode);
      entry.setIds(1000, 1001);
      entry.setModTime(1_700_000_000_000L);
      entry.setSize(data.length);
      if (!target.isEmpty()) {
        entry.setLinkName(target);
      }
      try {
        out.putArchiveEntry(entry);
        out.write(data);
        out.closeArchiveEntry();
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
      return this;
    }

    byte[] tar() throws IOException {
      out.close();
      return bytes.toByteArray();
    }
  }

  OciFixture layer(Layer layer) throws IOException {
    return layer(layer.tar(), false);
  }

  OciFixture layer(byte[] tar, boolean gzip) throws IOException {
    byte[] blob = tar;
    if (gzip) {
      ByteArrayOutputStream packed = new ByteArrayOutputStream();
      try (GZIPOutputStream out = new GZIPOutputStream(packed)) {
        out.write(tar);
      }
      blob = packed.toByteArray();
    }
    layers.add(descriptor(blob, ""));
    return this;
  }

  /** What its processes run with, as JSON. */
  OciFixture config(String json) {
    config = "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":" + json + "}";
    return this;
  }

  /** Writes manifest and index. */
  Path write() throws IOException {
    String manifest =
        "{\"schemaVersion\":2,\"config\":"
            + descriptor(config.getBytes(StandardCharsets.UTF_8), "")
            + ",\"layers\":["
            + String.join(",", layers)
            + "]}";
    return index(
        List.of(
            descriptor(
                manifest.getBytes(StandardCharsets.UTF_8),
                ",\"platform\":" + "{\"architecture\":\"amd64\",\"os\":\"linux\"}")));
  }

  /** Writes an index of these descriptors. */
  Path index(List<String> descriptors) throws IOException {
    Files.createDirectories(folder);
    Files.writeString(folder.resolve("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}");
    Files.writeString(
        folder.resolve("index.json"),
        "{\"schemaVersion\":2,\"manifests\":[" + String.join(",", descriptors) + "]}");
    return folder;
  }

  /** Stores a blob and describes it. */
  String descriptor(byte[] blob, String more) throws IOException {
    String hex = AssetFiles.sha256(blob);
    Files.createDirectories(folder.resolve("blobs/sha256"));
    Files.write(folder.resolve("blobs/sha256").resolve(hex), blob);
    return "{\"digest\":\"sha256:" + hex + "\",\"size\":" + blob.length + more + "}";
  }
}

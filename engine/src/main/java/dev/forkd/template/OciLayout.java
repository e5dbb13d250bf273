package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.process.Command;
import dev.forkd.process.ProcessRunner;
import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import java.util.zip.GZIPInputStream;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;
import org.apache.commons.compress.archivers.tar.TarArchiveOutputStream;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * An image in the OCI image layout, as {@code skopeo copy … oci:FOLDER}, {@code docker save} and
 * {@code podman save --format oci-dir} write it. Every part is checked against its digest.
 *
 * @see <a href="https://github.com/opencontainers/image-spec/blob/main/image-layout.md">Layout</a>
 */
final class OciLayout {
  private static final Pattern DIGEST = Pattern.compile("sha256:[0-9a-f]{64}");
  private static final Pattern MEMBER =
      Pattern.compile("(\\./)?(oci-layout|index\\.json|blobs/sha256/[0-9a-f]{64})");
  private static final Pattern INDEX = Pattern.compile("(\\./)?index\\.json");
  private static final JsonMapper JSON = JsonMapper.shared();
  private static final int MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;
  private static final int MAX_INDEX_DEPTH = 3;
  private static final long MIB = 1024 * 1024;

  /** How much more than the disk its layers together may hold before one is refused as a bomb. */
  private static final int MAX_LAYERS_TO_DISK = 8;

  private static final Duration DECOMPRESS_TIMEOUT = Duration.ofMinutes(10);

  private final Path folder;
  private final Path work;

  private OciLayout(Path folder, Path work) {
    this.folder = folder;
    this.work = work;
  }

  /**
   * An image: what identifies it, and its layers from the lowest.
   *
   * @param digest of its manifest, which names all else
   */
  record Image(String digest, List<String> layers, ImageConfig config) {}

  /**
   * Opens a layout.
   *
   * @param layout a folder, or a tar archive of one
   * @param work a folder for what must be unpacked to be read
   */
  static OciLayout open(Path layout, Path work) throws IOException {
    if (Files.isDirectory(layout)) {
      return new OciLayout(layout, work);
    }
    if (!Files.isRegularFile(layout)) {
      throw new ForkdException(
          ErrorCode.NOT_FOUND,
          "there is no OCI layout '" + layout + "'; make one with 'skopeo copy … oci:FOLDER'");
    }
    Path unpacked = Files.createDirectories(work.resolve("layout"));
    try (TarArchiveInputStream in = tar(Files.newInputStream(layout))) {
      for (TarArchiveEntry entry = in.getNextEntry(); entry != null; entry = in.getNextEntry()) {
        // Of the archive only what a layout consists of is taken; other names never reach the disk.
        if (entry.isFile() && MEMBER.matcher(entry.getName()).matches()) {
          Path file = unpacked.resolve(entry.getName()).normalize();
          Files.createDirectories(file.resolveSibling(""));
          Files.copy(in, file);
        }
      }
    }
    return new OciLayout(unpacked, work);
  }

  /**
   * What tells the image of a layout from any other, wherever it is: the digest its index names.
   *
   * @param layout a folder, or a tar archive of one, of which only the index is read
   */
  static String identity(Path layout) {
    return AssetFiles.orFail(
        "read the OCI layout '" + layout + "'",
        () -> {
          if (Files.isDirectory(layout)) {
            return digest(fitting(new OciLayout(layout, layout).index()));
          }
          try (TarArchiveInputStream in = tar(Files.newInputStream(layout))) {
            for (TarArchiveEntry entry = in.getNextEntry();
                entry != null;
                entry = in.getNextEntry()) {
              if (INDEX.matcher(entry.getName()).matches()) {
                return digest(fitting(parse(in.readNBytes(MAX_DOCUMENT_BYTES), "index.json")));
              }
            }
          }
          throw invalid("it has no index.json");
        });
  }

  /** The image for this platform. */
  Image image() throws IOException {
    JsonNode found = manifest(index(), 0);
    String digest = digest(found);
    JsonNode manifest = parse(blob(digest));
    List<String> layers = new ArrayList<>();
    for (JsonNode layer : manifest.path("layers")) {
      layers.add(digest(layer));
    }
    if (layers.isEmpty()) {
      throw invalid("its manifest " + digest + " lists no layers");
    }
    return new Image(digest, layers, config(manifest.path("config")));
  }

  private JsonNode index() throws IOException {
    Path index = folder.resolve("index.json");
    if (!Files.isRegularFile(index)) {
      throw invalid("it has no index.json");
    }
    return parse(index);
  }

  /** An image may have none, or one of a kind that says nothing of processes. */
  private ImageConfig config(JsonNode descriptor) throws IOException {
    return descriptor.has("digest")
        ? ImageConfig.of(parse(blob(digest(descriptor))).path("config"))
        : ImageConfig.NONE;
  }

  /**
   * Merges the layers into one archive that can be unpacked without care.
   *
   * @return the extended attributes of what is in it
   */
  Xattrs merge(Image image, int diskMib, Path archive) throws IOException {
    List<Path> layers = new ArrayList<>();
    for (String digest : image.layers()) {
      layers.add(plain(blob(digest)));
    }
    MergedTree tree = new MergedTree();
    long limit = diskMib * MIB * MAX_LAYERS_TO_DISK;
    for (int i = 0; i < layers.size(); i++) {
      XattrReader attributes = new XattrReader(open(layers.get(i), limit));
      try (TarArchiveInputStream in = tar(attributes)) {
        tree.apply(i, in, attributes);
      }
    }
    tree.addConfig(image.config(), image.config().file(JSON));
    tree.addGuestTree();
    long sizeBytes = MergedTreeWriter.sizeBytes(tree);
    if (sizeBytes > diskMib * MIB) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "the OCI image holds "
              + sizeBytes / MIB
              + " MiB, more than the disk of "
              + diskMib
              + " MiB; ask for a larger disk");
    }
    try (TarArchiveOutputStream out =
        new TarArchiveOutputStream(
            new BufferedOutputStream(Files.newOutputStream(archive)),
            StandardCharsets.UTF_8.name())) {
      new MergedTreeWriter(out).write(tree, i -> tar(open(layers.get(i), limit)));
    }
    return Xattrs.of(tree);
  }

  private static JsonNode fitting(JsonNode index) {
    List<JsonNode> fitting = new ArrayList<>();
    for (JsonNode entry : index.path("manifests")) {
      JsonNode platform = entry.path("platform");
      String architecture = platform.path("architecture").asString("amd64");
      String system = platform.path("os").asString("linux");
      if (architecture.equals("amd64") && system.equals("linux")) {
        fitting.add(entry);
      }
    }
    if (fitting.size() != 1) {
      throw invalid(
          "it has "
              + fitting.size()
              + " images for linux/amd64 where one is needed; export a single image");
    }
    return fitting.getFirst();
  }

  private JsonNode manifest(JsonNode index, int depth) throws IOException {
    JsonNode found = fitting(index);
    JsonNode document = parse(blob(digest(found)));
    if (!document.has("manifests")) {
      return found;
    }
    if (depth >= MAX_INDEX_DEPTH) {
      throw invalid("its indexes refer to each other too deeply");
    }
    return manifest(document, depth + 1);
  }

  private static String digest(JsonNode descriptor) {
    String digest = descriptor.path("digest").asString("");
    if (!DIGEST.matcher(digest).matches()) {
      throw invalid("'" + digest + "' is not a sha256 digest");
    }
    return digest;
  }

  /** A part of the image, its content checked. */
  private Path blob(String digest) throws IOException {
    String hex = digest.substring("sha256:".length());
    Path file = folder.resolve("blobs/sha256").resolve(hex);
    if (!Files.isRegularFile(file)) {
      throw invalid("its part " + digest + " is missing");
    }
    if (!AssetFiles.sha256(file).equals(hex)) {
      throw new ForkdException(
          ErrorCode.DATA_LOSS,
          "part "
              + digest
              + " of the OCI image is damaged: it has another digest; export it again");
    }
    return file;
  }

  private static JsonNode parse(Path file) throws IOException {
    if (Files.size(file) > MAX_DOCUMENT_BYTES) {
      throw invalid("'" + file.getFileName() + "' is too large for a manifest");
    }
    return parse(Files.readAllBytes(file), String.valueOf(file.getFileName()));
  }

  private static JsonNode parse(byte[] content, String name) {
    try {
      return JSON.readTree(content);
    } catch (JacksonException e) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "the OCI image cannot be used: '" + name + "' is not JSON",
          e);
    }
  }

  /** The layer as something Java can read: zstd is unpacked by its tool, once. */
  private Path plain(Path layer) throws IOException {
    byte[] magic = new byte[4];
    try (InputStream in = Files.newInputStream(layer)) {
      if (in.readNBytes(magic, 0, 4) < 4
          || (magic[0] & 0xff) != 0x28
          || (magic[1] & 0xff) != 0xb5
          || (magic[2] & 0xff) != 0x2f
          || (magic[3] & 0xff) != 0xfd) {
        return layer;
      }
    }
    Path plain = work.resolve(layer.getFileName() + ".tar");
    ProcessRunner.check(
        Command.of("zstd", "-q", "-dc", layer.toString())
            .stdoutTo(plain)
            .timeout(DECOMPRESS_TIMEOUT)
            .advice("it needs the package zstd"));
    return plain;
  }

  private static InputStream open(Path file, long limitBytes) throws IOException {
    BufferedInputStream in = new BufferedInputStream(Files.newInputStream(file), 1 << 16);
    in.mark(2);
    boolean gzip = in.read() == 0x1f && in.read() == 0x8b;
    in.reset();
    InputStream plain = gzip ? new GZIPInputStream(in, 1 << 16) : in;
    return new LimitedStream(plain, limitBytes);
  }

  private static TarArchiveInputStream tar(InputStream in) {
    return new TarArchiveInputStream(
        new BufferedInputStream(in, 1 << 16), StandardCharsets.UTF_8.name());
  }

  private static ForkdException invalid(String why) {
    return new ForkdException(ErrorCode.INVALID_ARGUMENT, "the OCI image cannot be used: " + why);
  }

  /** Fails when more comes out than was allowed: a small archive can unpack to anything. */
  private static final class LimitedStream extends java.io.FilterInputStream {
    private final long limit;
    private long read;

    LimitedStream(InputStream in, long limit) {
      super(in);
      this.limit = limit;
    }

    @Override
    public int read() throws IOException {
      int value = super.read();
      count(value < 0 ? 0 : 1);
      return value;
    }

    @Override
    public int read(byte[] bytes, int offset, int length) throws IOException {
      int n = super.read(bytes, offset, length);
      count(Math.max(0, n));
      return n;
    }

    @Override
    public long skip(long n) throws IOException {
      long skipped = super.skip(n);
      count(skipped);
      return skipped;
    }

    private void count(long n) {
      read += n;
      if (read > limit) {
        throw invalid(
            "a layer unpacks to more than " + limit / MIB + " MiB; ask for a larger disk");
      }
    }
  }
}

package dev.forkd.snapshot;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.linux.DurableFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.Optional;
import java.util.stream.Stream;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.SerializationFeature;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/** The folder of one snapshot: {@code snapshot.json} and {@code devices.bin}. */
public final class SnapshotFiles {
  public static final String MANIFEST = "snapshot.json";
  public static final String DEVICES = "devices.bin";

  /** A manifest is a few KiB; more is not one. */
  private static final long MAX_MANIFEST_BYTES = 4L << 20;

  private static final JsonMapper JSON =
      JsonMapper.builder()
          .enable(SerializationFeature.INDENT_OUTPUT)
          .enable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
          .enable(DeserializationFeature.FAIL_ON_NULL_FOR_PRIMITIVES)
          .enable(DeserializationFeature.FAIL_ON_MISSING_CREATOR_PROPERTIES)
          .build();

  private SnapshotFiles() {}

  /** Writes the manifest at once or not at all; with it the snapshot is complete. */
  public static void write(Path folder, SnapshotManifest manifest) {
    try {
      DurableFiles.replace(folder.resolve(MANIFEST), JSON.writeValueAsBytes(manifest));
    } catch (IOException e) {
      throw failed("write " + folder.resolve(MANIFEST), e);
    }
  }

  static ForkdException failed(String what, IOException cause) {
    boolean full = String.valueOf(cause.getMessage()).contains("No space left");
    return new ForkdException(
        full ? ErrorCode.RESOURCE_EXHAUSTED : ErrorCode.INTERNAL,
        what
            + ": "
            + cause.getMessage()
            + (full ? ". Free space in the data directory, or delete snapshots (forkd rmi)" : ""),
        cause);
  }

  /**
   * Reads and checks a manifest.
   *
   * @throws ForkdException DATA_LOSS, naming the file and what is wrong with it
   */
  public static SnapshotManifest read(Path folder) {
    Path file = folder.resolve(MANIFEST);
    try {
      if (Files.size(file) > MAX_MANIFEST_BYTES) {
        throw damaged(file, "it is larger than " + MAX_MANIFEST_BYTES + " bytes", null);
      }
      JsonNode content = JSON.readTree(Files.readAllBytes(file));
      // Before all else: another version has other fields.
      String version = content.path("version").asString("missing");
      if (!version.equals(String.valueOf(SnapshotManifest.VERSION))) {
        throw damaged(
            file, "its format version is " + version + ", not " + SnapshotManifest.VERSION, null);
      }
      SnapshotManifest manifest = JSON.treeToValue(completed(content), SnapshotManifest.class);
      if (!manifest.tag().equals(String.valueOf(folder.getFileName()))) {
        throw damaged(file, "it belongs to tag '" + manifest.tag() + "'", null);
      }
      if (manifest.memory().isEmpty() || manifest.disk().isEmpty()) {
        throw damaged(file, "it names no memory image or no disk", null);
      }
      return manifest;
    } catch (NoSuchFileException e) {
      throw damaged(file, "it is missing", e);
    } catch (IOException | JacksonException e) {
      throw damaged(
          file, String.valueOf(e.getMessage()).lines().findFirst().orElse("unreadable"), e);
    }
  }

  /** The manifest as its row keeps it: should the file be damaged, its images are still known. */
  static String toJson(SnapshotManifest manifest) {
    return JSON.writeValueAsString(manifest);
  }

  /** The manifest of a row; empty when the row has none that can be read. */
  static Optional<SnapshotManifest> fromJson(String json) {
    try {
      return Optional.of(JSON.treeToValue(completed(JSON.readTree(json)), SnapshotManifest.class));
    } catch (JacksonException e) {
      return Optional.empty();
    }
  }

  /** What was written before there were rehearsals, or hashes of disk layers, has none. */
  private static JsonNode completed(JsonNode content) {
    absent(content, "rehearsals");
    for (JsonNode layer : content.path("disk")) {
      absent(layer, "sizeBytes");
      absent(layer, "contentHash");
    }
    return content;
  }

  private static void absent(JsonNode content, String member) {
    if (content instanceof ObjectNode object && !object.has(member)) {
      object.putNull(member);
    }
  }

  private static ForkdException damaged(
      Path file, String how, @org.jspecify.annotations.Nullable Exception cause) {
    return new ForkdException(
        ErrorCode.DATA_LOSS,
        "snapshot manifest "
            + file
            + " cannot be used: "
            + how
            + ". Delete the snapshot (forkd rmi) and make it again",
        cause);
  }

  /** Lower-case hex SHA-256 of a small file. */
  public static String sha256(Path file) {
    try {
      return sha256(Files.readAllBytes(file));
    } catch (IOException e) {
      throw new ForkdException(ErrorCode.DATA_LOSS, "read " + file + ": " + e.getMessage(), e);
    }
  }

  public static String sha256(byte[] bytes) {
    try {
      return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every JDK has SHA-256", e);
    }
  }

  /** Removes the folder; the manifest goes first, so that a half-deleted one is never read. */
  public static void delete(Path folder) {
    try {
      Files.deleteIfExists(folder.resolve(MANIFEST));
      if (Files.isDirectory(folder)) {
        try (Stream<Path> files = Files.walk(folder)) {
          for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
            Files.delete(file);
          }
        }
      }
    } catch (IOException e) {
      throw new ForkdException(ErrorCode.INTERNAL, "delete " + folder + ": " + e.getMessage(), e);
    }
  }
}

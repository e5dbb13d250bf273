package dev.forkd.sdk;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.rest.FileEntry;
import dev.forkd.api.rest.FileWritten;
import dev.forkd.api.rest.Json;
import dev.forkd.api.rest.MakeDirectory;
import dev.forkd.api.rest.MoveFile;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/** The files of a sandbox. Paths in the guest are absolute. */
public final class SandboxFiles {
  /** For a transfer to begin or end; large files under emulation take their time. */
  private static final Duration TRANSFER_TIMEOUT = Duration.ofHours(1);

  private final Transport transport;
  private final String base;

  SandboxFiles(Transport transport, String sandboxPath) {
    this.transport = transport;
    this.base = sandboxPath + "/files";
  }

  private String at(String route, String path) {
    return base + route + "?path=" + Transport.encode(path);
  }

  /** The whole file; for large ones use {@link #read(String, OutputStream)}. */
  public byte[] read(String path) {
    return transport
        .send("GET", at("", path), BodyPublishers.noBody(), Optional.empty(), TRANSFER_TIMEOUT)
        .body();
  }

  /** The whole file as UTF-8. */
  public String readText(String path) {
    return new String(read(path), StandardCharsets.UTF_8);
  }

  /** Copies the file's bytes to {@code sink}; gives how many. */
  public long read(String path, OutputStream sink) {
    try (InputStream answer =
        transport.stream(
                "GET", at("", path), BodyPublishers.noBody(), Optional.empty(), TRANSFER_TIMEOUT)
            .body()) {
      return answer.transferTo(sink);
    } catch (IOException e) {
      throw transport.unreachable(e);
    }
  }

  /** Writes a file, making its folders and replacing it at once; gives its size. */
  public long write(String path, byte[] bytes) {
    return write(path, BodyPublishers.ofByteArray(bytes), OptionalInt.empty(), Optional.empty());
  }

  /** Writes a file as UTF-8. */
  public long writeText(String path, String text) {
    return write(path, text.getBytes(StandardCharsets.UTF_8));
  }

  /** Copies a file of this machine into the guest. */
  public long upload(Path source, String path) {
    if (!Files.isRegularFile(source)) {
      throw new ForkdApiException(
          ErrorCode.NOT_FOUND, 0, "", "no file " + source + " on this machine", null);
    }
    try {
      return write(path, BodyPublishers.ofFile(source), OptionalInt.empty(), Optional.empty());
    } catch (IOException e) {
      throw new ForkdApiException(
          ErrorCode.PERMISSION_DENIED, 0, "", "cannot read " + source + ": " + e, e);
    }
  }

  /**
   * Writes a file from a stream.
   *
   * @param mode permission bits; 0644 when empty
   * @param user its owner; root when empty
   */
  public long write(String path, InputStream source, OptionalInt mode, Optional<String> user) {
    return write(path, BodyPublishers.ofInputStream(() -> source), mode, user);
  }

  private long write(String path, BodyPublisher body, OptionalInt mode, Optional<String> user) {
    String query =
        at("", path)
            + (mode.isPresent() ? "&mode=" + Integer.toOctalString(mode.getAsInt()) : "")
            + user.map(name -> "&user=" + Transport.encode(name)).orElse("");
    byte[] answer =
        transport
            .send("PUT", query, body, Optional.of("application/octet-stream"), TRANSFER_TIMEOUT)
            .body();
    return Json.read(answer, FileWritten.class).sizeBytes();
  }

  public FileEntry stat(String path) {
    return transport.get(at("/stat", path), FileEntry.class);
  }

  /** The entries of a folder. */
  public List<FileEntry> list(String path) {
    return transport.getList(at("/list", path), FileEntry.class);
  }

  /** Makes a folder, and those above it. */
  public void makeDirectory(String path) {
    transport.call(
        "POST",
        base + "/mkdir",
        Transport.json(new MakeDirectory(path)),
        Optional.of("application/json"));
  }

  public void move(String from, String to) {
    transport.call(
        "POST",
        base + "/move",
        Transport.json(new MoveFile(from, to)),
        Optional.of("application/json"));
  }

  /** Removes a file, or a folder with all in it. */
  public void remove(String path) {
    transport.call("DELETE", at("", path), BodyPublishers.noBody(), Optional.empty());
  }
}

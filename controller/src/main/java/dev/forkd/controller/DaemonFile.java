package dev.forkd.controller;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.linux.ProcessIdentity;
import dev.forkd.snapshot.SnapshotFiles;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.cert.CertificateEncodingException;
import java.security.cert.X509Certificate;
import java.util.Optional;
import java.util.Set;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.json.JsonMapper;

/**
 * What a daemon says of itself in its data directory, so that commands find it.
 *
 * @param startTicks start of its process; with the pid it names one process for good
 * @param background started by a command, ends when idle, and gives way to one in the foreground
 * @param certificateSha256 of the certificate that it shows, so that commands on this host trust
 *     that one, which may be signed by nobody and name other hosts; none without TLS
 */
record DaemonFile(
    String url,
    long pid,
    long startTicks,
    String tokenFile,
    boolean background,
    String version,
    Optional<String> certificateSha256) {
  private static final Logger LOG = LoggerFactory.getLogger(DaemonFile.class);
  private static final JsonMapper MAPPER =
      JsonMapper.builder().disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES).build();

  /** What names a certificate: SHA-256 of its DER form, in hexadecimal digits. */
  static String sha256(X509Certificate certificate) {
    try {
      return SnapshotFiles.sha256(certificate.getEncoded());
    } catch (CertificateEncodingException e) {
      throw new ForkdException(ErrorCode.INTERNAL, "encode the TLS certificate", e);
    }
  }

  ProcessIdentity process() {
    return new ProcessIdentity(pid, startTicks);
  }

  /** The file of a daemon that is alive. */
  static Optional<DaemonFile> ofLiveDaemon(Path file) {
    try {
      return Optional.of(MAPPER.readValue(Files.readString(file), DaemonFile.class))
          .filter(daemon -> daemon.process().isAlive());
    } catch (IOException | JacksonException e) {
      // It is written by rename, so a file that cannot be read is nobody's word.
      return Optional.empty();
    }
  }

  /** Puts the whole file there at once, for the owner's eyes only. */
  void write(Path file) {
    Path part = file.resolveSibling(file.getFileName() + "." + pid);
    try {
      Files.deleteIfExists(part);
      try (FileChannel channel =
          FileChannel.open(
              part,
              Set.of(StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE),
              PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")))) {
        channel.write(
            ByteBuffer.wrap(
                (MAPPER.writeValueAsString(this) + "\n").getBytes(StandardCharsets.UTF_8)));
      }
      Files.move(part, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    } catch (IOException e) {
      throw new ForkdException(ErrorCode.FAILED_PRECONDITION, "cannot write " + file + ": " + e, e);
    }
  }

  /** Removes the file if it is still ours. */
  void remove(Path file) {
    try {
      if (ofLiveDaemon(file).filter(this::equals).isPresent()) {
        Files.deleteIfExists(file);
      }
    } catch (IOException e) {
      LOG.warn("cannot remove {}; it is ignored once this process has ended", file, e);
    }
  }
}

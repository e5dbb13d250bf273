package dev.forkd.controller;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.SecureRandom;
import java.util.HexFormat;
import java.util.Set;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The secret that opens the daemon: one line in a file. Whoever knows it may do what the daemon's
 * user may.
 */
final class TokenFile {
  private static final int TOKEN_CHARS_MIN = 16;
  private static final int TOKEN_BYTES = 24;
  private static final long FILE_BYTES_MAX = 65536;
  private static final Logger LOG = LoggerFactory.getLogger(TokenFile.class);

  private TokenFile() {}

  /** Reads the token; makes one, for the owner's eyes only, if there is no such file. */
  static String readOrCreate(Path file) {
    if (!Files.exists(file)) {
      create(file);
    }
    return read(file);
  }

  private static void create(Path file) {
    byte[] secret = new byte[TOKEN_BYTES];
    new SecureRandom().nextBytes(secret);
    String line = HexFormat.of().formatHex(secret) + "\n";
    try {
      // Linked into place when it is whole: a second daemon never reads half a token.
      Path part = file.resolveSibling(file.getFileName() + "." + ProcessHandle.current().pid());
      Files.deleteIfExists(part);
      try (FileChannel channel =
          FileChannel.open(
              part,
              Set.of(StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE),
              PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")))) {
        channel.write(java.nio.ByteBuffer.wrap(line.getBytes(StandardCharsets.UTF_8)));
        channel.force(true);
      }
      try {
        Files.createLink(file, part);
      } catch (FileAlreadyExistsException e) {
        LOG.debug("another process made the token {} meanwhile", file);
      } finally {
        Files.deleteIfExists(part);
      }
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION, "cannot make the token file " + file + ": " + e, e);
    }
  }

  /** Reads the token and refuses one that is no secret. */
  static String read(Path file) {
    String token;
    try {
      if (Files.size(file) > FILE_BYTES_MAX) {
        throw unfit(file, "is too large to be one");
      }
      token = Files.readString(file).strip();
      Set<PosixFilePermission> mode = Files.getPosixFilePermissions(file);
      if (mode.contains(PosixFilePermission.GROUP_READ)
          || mode.contains(PosixFilePermission.OTHERS_READ)) {
        LOG.warn("the token file {} can be read by others; chmod 600 it", file);
      }
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "cannot read the token file " + file + ": " + e + "; name another with --token-file",
          e);
    }
    if (token.isEmpty()) {
      throw unfit(file, "is empty");
    }
    if (token.startsWith("REPLACE_ME") || token.startsWith("CHANGE_ME")) {
      throw unfit(file, "still has its placeholder");
    }
    if (token.length() < TOKEN_CHARS_MIN) {
      throw unfit(file, "has fewer than " + TOKEN_CHARS_MIN + " characters");
    }
    if (token.chars().anyMatch(c -> c <= ' ' || c > '~')) {
      throw unfit(file, "has characters that no HTTP header can carry");
    }
    return token;
  }

  private static ForkdException unfit(Path file, String what) {
    return new ForkdException(
        ErrorCode.FAILED_PRECONDITION,
        "the token in " + file + " " + what + "; make one with: openssl rand -hex 24 > " + file);
  }
}

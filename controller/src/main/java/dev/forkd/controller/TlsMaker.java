package dev.forkd.controller;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.http.ServerConfig;
import dev.forkd.linux.DurableFiles;
import dev.forkd.process.Command;
import dev.forkd.process.ProcessRunner;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.time.Duration;
import java.util.Base64;
import java.util.List;

/**
 * Makes a certificate for a domain and all names directly below it, which is what sandboxes have:
 * {@code PORT-SANDBOX.DOMAIN}. It signs itself, so that clients must be told to trust it. Made
 * once; the JDK's own keytool does it.
 */
final class TlsMaker {
  private static final Duration TIMEOUT = Duration.ofSeconds(60);

  /** Of a store that exists for a moment in a private folder. */
  private static final String PASSWORD = "changeit";

  private static final String ALIAS = "forkd";
  private static final String VALIDITY_DAYS = "3650";

  private TlsMaker() {}

  /** The certificate and key in this folder, made if there are none for this domain yet. */
  static ServerConfig.TlsFiles in(Path folder, String domain) {
    String host = domain.replaceFirst(":[0-9]+$", "");
    ServerConfig.TlsFiles files =
        new ServerConfig.TlsFiles(
            folder.resolve(host + ".cert.pem"), folder.resolve(host + ".key.pem"));
    if (!Files.exists(files.certificate()) || !Files.exists(files.key())) {
      try {
        Files.createDirectories(folder);
        Files.setPosixFilePermissions(folder, PosixFilePermissions.fromString("rwx------"));
        make(folder.resolve(host + ".p12"), host, files);
      } catch (IOException | GeneralSecurityException e) {
        throw new ForkdException(
            ErrorCode.INTERNAL,
            "make a TLS certificate for " + host + " in " + folder + ": " + e.getMessage(),
            e);
      }
    }
    return files;
  }

  private static void make(Path store, String host, ServerConfig.TlsFiles files)
      throws IOException, GeneralSecurityException {
    Files.deleteIfExists(store);
    Path keytool = Path.of(System.getProperty("java.home"), "bin", "keytool");
    var _ =
        ProcessRunner.check(
            Command.of(
                    List.of(
                        keytool.toString(),
                        "-genkeypair",
                        "-alias",
                        ALIAS,
                        "-keyalg",
                        "EC",
                        "-groupname",
                        "secp256r1",
                        "-validity",
                        VALIDITY_DAYS,
                        "-dname",
                        "CN=" + host,
                        "-ext",
                        "SAN=dns:" + host + ",dns:*." + host + ",dns:localhost,ip:127.0.0.1",
                        // Of no authority: rustls, which the Python SDK stands on, takes none as a
                        // server.
                        "-ext",
                        "bc:c=ca:false",
                        "-storetype",
                        "PKCS12",
                        "-keystore",
                        store.toString(),
                        "-storepass",
                        PASSWORD))
                .timeout(TIMEOUT));
    try (InputStream in = Files.newInputStream(store)) {
      KeyStore keys = KeyStore.getInstance("PKCS12");
      keys.load(in, PASSWORD.toCharArray());
      write(
          files.key(), pem("PRIVATE KEY", keys.getKey(ALIAS, PASSWORD.toCharArray()).getEncoded()));
      write(files.certificate(), pem("CERTIFICATE", keys.getCertificate(ALIAS).getEncoded()));
    } finally {
      Files.deleteIfExists(store);
    }
  }

  private static void write(Path file, String text) throws IOException {
    DurableFiles.replace(file, text.getBytes(StandardCharsets.US_ASCII));
    Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rw-------"));
  }

  /** As RFC 7468 has it. */
  private static String pem(String label, byte[] der) {
    return "-----BEGIN "
        + label
        + "-----\n"
        + Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(der)
        + "\n-----END "
        + label
        + "-----\n";
  }
}

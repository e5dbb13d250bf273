package dev.forkd.system;

import static org.awaitility.Awaitility.await;

import dev.forkd.fault.FaultPoint;
import dev.forkd.sdk.Forkd;
import java.io.IOException;
import java.io.InputStream;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** A daemon in a process of its own, on the data directory of the {@link Lab}. */
final class Daemon implements AutoCloseable {
  /** The domain of a daemon that was started with {@code --tls}. */
  static final String DOMAIN = "forkd.test";

  /** What it shows then. */
  static final Path CERTIFICATE = Lab.DATA_DIR.resolve("tls").resolve(DOMAIN + ".cert.pem");

  static final String TOKEN = "a-token-of-the-system-tests";

  private final Process process;
  private final String url;

  private Daemon(Process process, String url) {
    this.process = process;
    this.url = url;
  }

  static Daemon start(String... more) throws IOException {
    return start(List.of(), more);
  }

  /** One that ends, as a crash would end it, when it gets to this step of its work. */
  static Daemon haltingAt(String step) throws IOException {
    return start(List.of("-D" + FaultPoint.PROPERTY + "=" + step));
  }

  static Daemon start(List<String> jvmOptions, String... more) throws IOException {
    Lab.release();
    Optional<Daemon> started = Optional.empty();
    // Somebody else may take the port that was found to be free.
    for (int i = 0; i < 5 && started.isEmpty(); i++) {
      started = startUnlessTaken(jvmOptions, more);
    }
    return started.orElseThrow(() -> new AssertionError("one port after another is taken"));
  }

  private static Optional<Daemon> startUnlessTaken(List<String> jvmOptions, String... more)
      throws IOException {
    Path token = Path.of("target", "system", "token").toAbsolutePath();
    Files.writeString(token, TOKEN);
    int port;
    try (ServerSocket free = new ServerSocket(0)) {
      port = free.getLocalPort();
    }
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(jvmOptions);
    command.addAll(
        List.of(
            "--enable-native-access=ALL-UNNAMED",
            "-cp",
            System.getProperty("java.class.path"),
            "dev.forkd.controller.Main",
            "serve",
            "--data-dir",
            Lab.DATA_DIR.toString(),
            "--token-file",
            token.toString(),
            "--bind",
            "127.0.0.1:" + port));
    boolean tls = List.of(more).contains("--tls");
    if (tls) {
      command.addAll(List.of("--domain", DOMAIN + ":" + port));
    }
    command.addAll(List.of(more));
    Path log = Path.of("target", "system", "daemon.log").toAbsolutePath();
    int before = Files.exists(log) ? Files.readString(log).length() : 0;
    Process process =
        new ProcessBuilder(command)
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.appendTo(log.toFile()))
            .start();
    Daemon daemon = new Daemon(process, (tls ? "https" : "http") + "://127.0.0.1:" + port);
    await()
        .atMost(Duration.ofSeconds(100))
        .until(() -> {
          if (!process.isAlive()) {
            return true;
          }
          if (tls && !Files.exists(CERTIFICATE)) {
            return false;
          }
          try (Forkd client = daemon.client()) {
            return client.isHealthy();
          }
        });
    if (process.isAlive()) {
      return Optional.of(daemon);
    }
    String told = Files.readString(log).substring(before);
    if (!told.contains("cannot listen on")) {
      throw new AssertionError("daemon ended: " + told);
    }
    return Optional.empty();
  }

  Forkd client() {
    Forkd.Builder client = Forkd.builder().url(url).token(TOKEN);
    return url.startsWith("https") ? client.tls(trusting(CERTIFICATE)).build() : client.build();
  }

  private static SSLContext trusting(Path certificate) {
    try (InputStream in = Files.newInputStream(certificate)) {
      KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
      trusted.load(null, null);
      trusted.setCertificateEntry(
          "forkd", CertificateFactory.getInstance("X.509").generateCertificate(in));
      TrustManagerFactory managers =
          TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
      managers.init(trusted);
      SSLContext context = SSLContext.getInstance("TLS");
      context.init(null, managers.getTrustManagers(), null);
      return context;
    } catch (IOException | GeneralSecurityException e) {
      throw new IllegalStateException(e);
    }
  }

  int port() {
    return java.net.URI.create(url).getPort();
  }

  long pid() {
    return process.pid();
  }

  String url() {
    return url;
  }

  void terminate() {
    process.destroy();
    process.onExit().orTimeout(100, TimeUnit.SECONDS).join();
  }

  void kill() {
    process.destroyForcibly().onExit().join();
  }

  /** Waits for it to end by itself; gives its status. */
  int awaitEnd() {
    process.onExit().orTimeout(100, TimeUnit.SECONDS).join();
    return process.exitValue();
  }

  @Override
  public void close() {
    if (process.isAlive()) {
      terminate();
    }
  }
}

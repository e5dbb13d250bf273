package dev.forkd.sdk;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.net.httpserver.HttpServer;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Shows where a client goes, what it shows there, and whom it believes to be the daemon. */
class ConnectTest {
  private static final String PASSWORD = "secret";

  @TempDir Path folder;
  private final List<HttpServer> servers = new ArrayList<>();

  /** The tokens that were shown, {@code null} for none. */
  private final List<String> shown = new CopyOnWriteArrayList<>();

  @AfterEach
  void stop() {
    servers.forEach(server -> server.stop(0));
  }

  @Test
  void whatIsNotSetComesFromTheEnvironment() throws Exception {
    String url = serve(HttpServer.create(anyPort(), 0));
    Map<String, String> environment = Map.of("FORKD_URL", url + "/", "FORKD_TOKEN", " t0ken\n");
    try (Forkd forkd = new Forkd.Builder(environment).build()) {
      assertThat(forkd.url()).isEqualTo(url);
      assertThat(forkd.isHealthy()).isTrue();
    }
    try (Forkd forkd = new Forkd.Builder(environment).token("other").build()) {
      assertThat(forkd.isHealthy()).isTrue();
    }
    try (Forkd forkd = new Forkd.Builder(environment).token("").build()) {
      assertThat(forkd.isHealthy()).isTrue();
    }
    assertThat(shown).containsExactly("Bearer t0ken", "Bearer other", "none");
    Map<String, String> elsewhere = Map.of("FORKD_URL", "http://127.0.0.1:1", "FORKD_TOKEN", "");
    try (Forkd forkd = new Forkd.Builder(elsewhere).url(url).build()) {
      assertThat(forkd.isHealthy()).isTrue();
    }
    assertThat(shown.getLast()).isEqualTo("none");
    try (Forkd forkd = new Forkd.Builder(Map.of()).build()) {
      assertThat(forkd.url()).isEqualTo(Forkd.DEFAULT_URL);
    }
    assertThatThrownBy(() -> new Forkd.Builder(Map.of("FORKD_URL", "nowhere")).build())
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.INVALID_ARGUMENT))
        .hasMessageContaining("'nowhere'");
  }

  /** Signed by nobody and naming another host; and with a pin nothing else is believed. */
  @Test
  void aPinnedCertificateIsBelievedAndNoOther() throws Exception {
    KeyStore keys = selfSigned("one", "dns:elsewhere.example");
    String url = serve(https(keys));
    try (Forkd stranger = new Forkd.Builder(Map.of()).url(url).build()) {
      assertThatThrownBy(stranger::version).isInstanceOf(ForkdApiException.class);
    }
    String pin = sha256(keys);
    try (Forkd forkd = new Forkd.Builder(Map.of()).url(url).certificate(pin).build()) {
      assertThat(forkd.isHealthy()).isTrue();
    }
    String other = sha256(selfSigned("two", "ip:127.0.0.1"));
    try (Forkd forkd = new Forkd.Builder(Map.of()).url(url).certificate(other).build()) {
      assertThatThrownBy(forkd::version)
          .isInstanceOf(ForkdApiException.class)
          .hasMessageContaining("another certificate")
          .hasMessageContaining(pin);
    }
    assertThat(shown).as("requests that were sent").hasSize(1);
  }

  /** Its authorities count in place of the machine's, and host names are still checked. */
  @Test
  void theCaFileIsTrustedForItsNamesOnly() throws Exception {
    KeyStore here = selfSigned("here", "ip:127.0.0.1");
    KeyStore there = selfSigned("there", "dns:elsewhere.example");
    Path both =
        Files.writeString(folder.resolve("ca.pem"), "# ours\n" + pem(there) + "\n" + pem(here));
    Map<String, String> environment = Map.of("FORKD_CA_FILE", both.toString());
    String url = serve(https(here));
    try (Forkd forkd = new Forkd.Builder(environment).url(url).build()) {
      assertThat(forkd.isHealthy()).isTrue();
    }
    String misnamed = serve(https(there));
    try (Forkd forkd = new Forkd.Builder(environment).url(misnamed).build()) {
      assertThatThrownBy(forkd::version).hasMessageContaining("127.0.0.1");
    }
    String plain = serve(HttpServer.create(anyPort(), 0));
    Map<String, String> missing = Map.of("FORKD_CA_FILE", folder.resolve("none.pem").toString());
    try (Forkd forkd = new Forkd.Builder(missing).url(plain).build()) {
      assertThat(forkd.isHealthy()).as("no certificates without TLS").isTrue();
    }
    Path empty = Files.writeString(folder.resolve("empty.pem"), "");
    for (String file : List.of(missing.get("FORKD_CA_FILE"), empty.toString())) {
      assertThatThrownBy(() -> new Forkd.Builder(Map.of("FORKD_CA_FILE", file)).url(url).build())
          .isInstanceOfSatisfying(
              ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.INVALID_ARGUMENT))
          .hasMessageContaining(file);
    }
  }

  private static InetSocketAddress anyPort() {
    return new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);
  }

  /** Answers everything as a daemon answers whether it lives. */
  private String serve(HttpServer server) {
    server.createContext(
        "/",
        exchange -> {
          String token = exchange.getRequestHeaders().getFirst("Authorization");
          shown.add(token == null ? "none" : token);
          byte[] body = "{\"ok\":true}".getBytes(StandardCharsets.UTF_8);
          exchange.sendResponseHeaders(200, body.length);
          exchange.getResponseBody().write(body);
          exchange.close();
        });
    server.start();
    servers.add(server);
    String scheme = server instanceof HttpsServer ? "https" : "http";
    return scheme + "://127.0.0.1:" + server.getAddress().getPort();
  }

  private static HttpsServer https(KeyStore keys) throws Exception {
    KeyManagerFactory managers =
        KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
    managers.init(keys, PASSWORD.toCharArray());
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(managers.getKeyManagers(), null, null);
    HttpsServer server = HttpsServer.create(anyPort(), 0);
    server.setHttpsConfigurator(new HttpsConfigurator(context));
    return server;
  }

  private KeyStore selfSigned(String name, String subject) throws Exception {
    Path store = folder.resolve(name + ".p12");
    List<String> command =
        new ArrayList<>(
            List.of(Path.of(System.getProperty("java.home"), "bin", "keytool").toString()));
    command.addAll(List.of("-genkeypair", "-alias", "forkd", "-keyalg", "EC", "-validity", "2"));
    command.addAll(List.of("-dname", "CN=" + name, "-ext", "san=" + subject));
    command.addAll(List.of("-keystore", store.toString(), "-storepass", PASSWORD));
    Process keytool =
        new ProcessBuilder(command)
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.DISCARD)
            .start();
    assertThat(keytool.waitFor(60, TimeUnit.SECONDS)).isTrue();
    return KeyStore.getInstance(store.toFile(), PASSWORD.toCharArray());
  }

  private static String pem(KeyStore keys) throws Exception {
    return "-----BEGIN CERTIFICATE-----\n"
        + Base64.getMimeEncoder(64, new byte[] {'\n'})
            .encodeToString(keys.getCertificate("forkd").getEncoded())
        + "\n-----END CERTIFICATE-----\n";
  }

  private static String sha256(KeyStore keys) throws Exception {
    return HexFormat.of()
        .formatHex(
            MessageDigest.getInstance("SHA-256").digest(keys.getCertificate("forkd").getEncoded()));
  }
}

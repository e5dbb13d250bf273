package dev.forkd.vmm.qemu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class QmpClientTest {
  private static final String GREETING =
      "{\"QMP\":{\"version\":{\"qemu\":{\"major\":7,\"minor\":2}},\"capabilities\":[]}}\r\n";

  @TempDir Path dir;
  private ServerSocketChannel server;
  private SocketChannel monitor;
  private QmpClient client;
  private final List<String> events = new ArrayList<>();

  @BeforeEach
  void connect() throws IOException {
    UnixDomainSocketAddress address = UnixDomainSocketAddress.of(dir.resolve("q"));
    server = ServerSocketChannel.open(StandardProtocolFamily.UNIX).bind(address);
    SocketChannel near = SocketChannel.open(address);
    monitor = server.accept();
    client = new QmpClient("sbtest", near, event -> events.add(event.path("event").asString()));
  }

  @AfterEach
  void close() throws IOException {
    client.close();
    monitor.close();
    server.close();
  }

  private void say(String text) throws IOException {
    monitor.write(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)));
  }

  private String hear() throws IOException {
    ByteBuffer buffer = ByteBuffer.allocate(65536);
    monitor.read(buffer);
    return StandardCharsets.UTF_8.decode(buffer.flip()).toString();
  }

  /** Commands go out in one write, and replies find theirs by id in whatever order they come. */
  @Test
  void repliesAreMatchedById() throws Exception {
    Thread qemu =
        Thread.ofVirtual()
            .start(() -> {
              try {
                String sent = hear();
                assertThat(sent.lines()).hasSize(2);
                say("{\"return\":{\"n\":2},\"id\":2}\n{\"event\":\"STOP\"}\n");
                say("{\"return\":{\"n\":1},\"id\":1}\n");
              } catch (IOException e) {
                throw new java.io.UncheckedIOException(e);
              }
            });
    List<tools.jackson.databind.JsonNode> replies =
        client.callAll(List.of(QmpClient.Command.of("stop"), QmpClient.Command.of("cont")));
    assertThat(replies.get(0).path("n").asInt()).isEqualTo(1);
    assertThat(replies.get(1).path("n").asInt()).isEqualTo(2);
    qemu.join();
    assertThat(events).containsExactly("STOP");
  }

  /** What QEMU refuses is told with its own words; the commands around it keep their replies. */
  @Test
  void refusalKeepsTheOthers() throws Exception {
    Thread.ofVirtual()
        .start(() -> {
          try {
            hear();
            say("{\"error\":{\"class\":\"GenericError\",\"desc\":\"no such node\"},\"id\":1}\n");
            say("{\"return\":{},\"id\":2}\n");
          } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
          }
        });
    List<QmpClient.Reply> replies =
        client.callEach(List.of(QmpClient.Command.of("x"), QmpClient.Command.of("cont")));
    assertThat(replies.get(0)).isInstanceOf(QmpClient.Reply.Refused.class);
    assertThat(((QmpClient.Reply.Refused) replies.get(0)).error().message())
        .contains("sbtest", "no such node");
    assertThat(replies.get(1)).isInstanceOf(QmpClient.Reply.Returned.class);
  }

  /** A monitor that goes away fails what waits, at once and not after a timeout. */
  @Test
  void aLostMonitorFailsWhatWaits() throws Exception {
    say(GREETING);
    Thread.ofVirtual()
        .start(() -> {
          try {
            hear();
            monitor.close();
          } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
          }
        });
    assertThatThrownBy(() -> client.negotiate(Duration.ofSeconds(60)))
        .isInstanceOfSatisfying(
            ForkdException.class, e -> assertThat(e.code()).isEqualTo(ErrorCode.UNAVAILABLE));
    assertThatThrownBy(() -> client.call(QmpClient.Command.of("cont")))
        .isInstanceOf(ForkdException.class);
  }

  /** Bytes that are not QMP end the connection with an error, and never anything else. */
  @Test
  void nonsenseEndsTheConnection() throws Exception {
    say("this is not json\n");
    assertThat(client.closed().get(60, java.util.concurrent.TimeUnit.SECONDS)).isNotEmpty();
  }

  /** However the bytes are cut, the same lines come out; too long a line is refused. */
  @Test
  void linesSurviveAnyCut() throws Exception {
    long seed = System.nanoTime();
    Random random = new Random(seed);
    for (int round = 0; round < 200; round++) {
      List<String> lines = new ArrayList<>();
      for (int i = random.nextInt(20); i > 0; i--) {
        lines.add("x".repeat(1 + random.nextInt(300)));
      }
      byte[] bytes = (String.join("\n", lines) + "\n").getBytes(StandardCharsets.UTF_8);
      QmpLines cutter = new QmpLines(1000);
      List<String> out = new ArrayList<>();
      for (int at = 0; at < bytes.length; ) {
        int size = Math.min(bytes.length - at, 1 + random.nextInt(50));
        out.addAll(cutter.feed(ByteBuffer.wrap(bytes, at, size)));
        at += size;
      }
      assertThat(out).as("seed %d", seed).isEqualTo(lines);
    }
    QmpLines bounded = new QmpLines(10);
    assertThatThrownBy(() -> bounded.feed(ByteBuffer.wrap(new byte[11])))
        .isInstanceOf(IOException.class);
  }
}

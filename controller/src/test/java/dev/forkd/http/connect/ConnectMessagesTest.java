package dev.forkd.http.connect;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.management.ThreadMXBean;
import dev.forkd.api.ForkdException;
import dev.forkd.http.HeapBudget;
import dev.forkd.http.HeapBudgets;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What the messages of clients cost the daemon's heap. */
class ConnectMessagesTest {
  private static final int MANY = ConnectMessages.TOKENS_MAX / 3;

  record Words(List<String> words) {
    Words {
      words = words == null ? List.of() : List.copyOf(words);
    }
  }

  private static byte[] many(String field, String each) {
    return ("{\"" + field + "\":[" + (each + ",").repeat(MANY) + each + "]}")
        .getBytes(StandardCharsets.UTF_8);
  }

  /** Nothing is made of what is not asked for. */
  @Test
  void unknownFieldsTakeNothing() {
    byte[] message = many("x", "{}");
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    long bytes = 0;
    for (int round = 0; round < 3; round++) {
      long before = threads.getCurrentThreadAllocatedBytes();
      try (HeapBudget.Share held = HeapBudgets.share(Long.MAX_VALUE / 2)) {
        assertThat(ConnectMessages.read(message, Words.class, held).words()).isEmpty();
      }
      bytes = threads.getCurrentThreadAllocatedBytes() - before;
    }
    assertThat(bytes).isLessThan(message.length * 3L);
  }

  /** Short texts take more than their bytes, and count for that. */
  @Test
  void partsCount() {
    byte[] message = many("words", "\"a\"");
    try (HeapBudget.Share held = HeapBudgets.share(4 << 20)) {
      assertThat(ConnectMessages.read(message, Words.class, held).words()).hasSize(MANY + 1);
    }
    try (HeapBudget.Share held = HeapBudgets.share(message.length)) {
      assertThatThrownBy(() -> ConnectMessages.read(message, Words.class, held))
          .isInstanceOf(ForkdException.class);
    }
  }
}

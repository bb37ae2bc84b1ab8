/* The claude that a server starts under load: hands its stdin and stdout to the hub and waits to be told to exit.
 * Compiled with -DHUB="the path of the hub's socket". hub.py has the theory, launcher.py is the same without a compiler.
 */
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_un hub = {.sun_family = AF_UNIX, .sun_path = HUB};
    int channel = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (channel < 0 || connect(channel, (struct sockaddr *)&hub, sizeof hub))
        return 1;

    char words[65536]; /* the arguments, each with its final zero */
    size_t size = 0;
    for (int i = 1; i < argc && size + strlen(argv[i]) + 1 <= sizeof words; i++) {
        strcpy(words + size, argv[i]);
        size += strlen(argv[i]) + 1;
    }
    if (!size)
        words[size++] = 0; /* an empty packet would be the end */
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    struct iovec part = {words, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(rights), (int[]){0, 1}, 2 * sizeof(int));
    if (sendmsg(channel, &message, 0) < 0)
        return 1;
    close(0); /* the hub has the only ends now: what it closes is closed for the server */
    close(1);
    unsigned char status;
    return recv(channel, &status, 1, 0) == 1 ? status : 1;
}

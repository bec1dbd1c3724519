/* once: does nothing and exits. Its one interesting call is the execve before it. */
#include <unistd.h>

int main(void)
{
	_exit(0);
}

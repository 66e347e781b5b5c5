#include <ollm.h>
